/** `latchkey config`. Depends on the configuration. */
import type { Command } from "commander";
import { describeConfig, likelyTypos, parseConfig } from "../config/config.js";
import { describeCommand, type JsonOption, type Session } from "./command.js";
import { safe, toJson, warn, writeLine } from "./terminal.js";

export function addConfigCommand(program: Command, { terminal }: Session): void {
  describeCommand(
    program.command("config"),
    "Print the effective configuration, secrets masked.",
    "PORT=9000 latchkey config",
  ).action(async ({ json }: JsonOption) => {
    parseConfig(terminal.env);
    for (const sentence of likelyTypos(terminal.env)) await warn(terminal, sentence, json);
    const values = Object.entries(describeConfig(terminal.env));
    const text = json
      ? toJson(Object.fromEntries(values.map(([name, value]) => [name, value ?? null])))
      : values.map(([name, value = ""]) => `${name}=${safe(value)}`).join("\n");
    await writeLine(terminal.stdout, text);
  });
}
