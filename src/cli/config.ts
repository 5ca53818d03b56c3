/** `latchkey config`. Depends on commander, the configuration and the names of the tracing variables. */
import type { Command } from "commander";
import { describeConfig, hashConcurrency, likelyTypos } from "../config/config.js";
import { describeTracing, readTracingConfig } from "../observability/tracing-config.js";
import { describeCommand, type JsonOption, type Session } from "./command.js";
import { safe, toJson, warn, writeLine } from "./terminal.js";

export function addConfigCommand(program: Command, { terminal }: Session): void {
  describeCommand(
    program.command("config"),
    "Print the effective configuration, secrets masked.",
    "PORT=9000 latchkey config",
  ).action(async ({ json }: JsonOption) => {
    const { env } = terminal;
    const { readConfiguration } = await import("../app/key-material.js");
    const { config } = await readConfiguration(env);
    const warnings = [...likelyTypos(env), ...readTracingConfig(env).faults];
    for (const sentence of warnings) await warn(terminal, sentence, json);
    const { busy, quiet } = hashConcurrency(env, config);
    const values = Object.entries<string | undefined>({
      ...describeConfig(env),
      HASH_CONCURRENCY: quiet === busy ? `${busy}` : `${quiet} (${busy} while tokens are renewed)`,
      ...describeTracing(env),
    });
    const text = json
      ? toJson(Object.fromEntries(values.map(([name, value]) => [name, value ?? null])))
      : values.map(([name, value = ""]) => `${name}=${safe(value)}`).join("\n");
    await writeLine(terminal.stdout, text);
  });
}
