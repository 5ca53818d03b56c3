/**
 * The command line: its commands, and how errors are reported. Depends on commander; the commands load their
 * modules when they run.
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
  /** Undefined if everything has been written already. */
  readonly message: string | undefined;
  readonly exitCode: number;
}

function describeError(error: unknown): Ending {
  if (error instanceof CommanderError) {
    // Commander has already written the help, whether asked for or because no command was given.
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
    // An operator may see the cause, which clients of the service never do.
    const { cause } = error;
    const message = cause instanceof Error ? `${error.message}: ${cause.message}` : error.message;
    return { code: error.code, message, exitCode: 1 };
  }
  const message = error instanceof Error ? error.message : String(error);
  return { code: "failed", message, exitCode: 1 };
}

/** Whether the stored keys are not usable. Compares names, because most commands do not load the error classes. */
const isKeyFault = (error: unknown): error is Error =>
  error instanceof Error && ["KeyEncryptionError", "KeyRingError"].includes(error.name);

/** Removes the value of an unknown option from the message: `--password=…` and `-p…` hold a secret. */
function withoutValue(message: string): string {
  return message.replace(/^(unknown option '(?:--[^=]*|-[^-]))[^]*'/, "$1'");
}
