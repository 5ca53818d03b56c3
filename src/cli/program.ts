/**
 * The command line: which commands there are, and what becomes of an error. Depends on commander; the
 * commands load what they need when they run.
 */
import { Command, CommanderError } from "commander";
import { AuthError } from "../auth/errors.js";
import { ConfigError } from "../config/config.js";
import { version } from "../config/version.js";
import { addAuditCommand } from "./audit.js";
import { addCompletionCommand } from "./completion.js";
import { exitCodesHelp, type Clock, type Session } from "./command.js";
import { addConfigCommand } from "./config.js";
import { addKeysCommands } from "./keys.js";
import { addContractCommand } from "./contract/contract.js";
import { addDoctorCommand } from "./doctor.js";
import { prepareArguments } from "./operands.js";
import { CliError, note, OutputClosed, safe, toJson, type Terminal } from "./terminal.js";
import { addServeCommand } from "./serve.js";
import { addTakeoverCommands } from "./takeover/takeover.js";
import { addThrottleCommands } from "./throttle.js";
import { addUsersCommands } from "./users/users.js";

/** Runs one command line and returns the exit code. Never throws. */
export async function run(
  argv: readonly string[],
  terminal: Terminal,
  clock: Clock,
): Promise<number> {
  const session: Session = { terminal, clock, exitCode: 0 };
  try {
    const program = createProgram(session);
    await program.parseAsync(prepareArguments(program, argv), { from: "user" });
    return session.exitCode;
  } catch (error) {
    if (error instanceof OutputClosed) return session.exitCode;
    const { code, message, exitCode } = describeError(error);
    if (message !== undefined) {
      const text = message.split("\n").map(safe).join("\n");
      const json = argv.includes("--json");
      await note(terminal, json ? toJson({ error: { code, message } }) : `error: ${text}`);
    }
    return exitCode;
  }
}

/** The tree of all commands. */
export function createProgram(session: Session): Command {
  const { terminal } = session;
  // Sub-commands inherit the settings made before them.
  const program = new Command("latchkey")
    .description("Authentication service: passwords in, JSON Web Tokens out.")
    .version(version)
    .addHelpText("afterAll", exitCodesHelp)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void terminal.stdout.write(text),
      writeErr: (text) => void terminal.stderr.write(text),
      outputError: () => undefined,
      getOutHelpWidth: () => terminal.stdout.columns || 80,
      getErrHelpWidth: () => terminal.stderr.columns || 80,
    });
  addServeCommand(program, session);
  addUsersCommands(program, session);
  addKeysCommands(program, session);
  addThrottleCommands(program, session);
  addDoctorCommand(program, session);
  addContractCommand(program, session);
  addConfigCommand(program, session);
  addTakeoverCommands(program, session);
  addAuditCommand(program, session);
  addCompletionCommand(program, session);
  return program;
}

interface Ending {
  readonly code: string;
  /** What is still to be said, if anything. */
  readonly message: string | undefined;
  readonly exitCode: number;
}

function describeError(error: unknown): Ending {
  if (error instanceof CommanderError) {
    // Help has been written by then, whether asked for or for want of a command.
    const isHelp = error.exitCode === 0 || error.code === "commander.help";
    const text = error.message
      .replace(/^error: /, "")
      .replace(/\n\(Did you (.*)\)$/, "; did you $1");
    const message = isHelp ? undefined : withoutValue(text);
    return { code: "usage", message, exitCode: error.exitCode === 0 ? 0 : 2 };
  }
  if (error instanceof ConfigError || isKeyFault(error)) {
    return { code: "invalid_configuration", message: error.message, exitCode: 78 };
  }
  if (error instanceof CliError) return error;
  if (error instanceof AuthError) {
    // Whoever runs a command may know what the machine said.
    const { cause } = error;
    const message = cause instanceof Error ? `${error.message}: ${cause.message}` : error.message;
    return { code: error.code, message, exitCode: 1 };
  }
  const message = error instanceof Error ? error.message : String(error);
  return { code: "failed", message, exitCode: 1 };
}

/** Stored keys that do not fit; told by name, since most commands never load their modules. */
const isKeyFault = (error: unknown): error is Error =>
  error instanceof Error && ["KeyEncryptionError", "KeyRingError"].includes(error.name);

/** An unknown option without what may be its value: somebody tries `--password=…` or `-p…`. */
function withoutValue(message: string): string {
  return message.replace(/^(unknown option '(?:--[^=]*|-[^-]))[^]*'/, "$1'");
}
