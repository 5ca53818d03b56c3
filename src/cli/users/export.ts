/** `latchkey users export`. Depends on the domain's users and node:fs. */
import { open, rm } from "node:fs/promises";
import { createWriteStream } from "node:fs";
import type { User } from "../../auth/users.js";
import { withUsers, type JsonOption, type Session } from "../command.js";
import { CliError, note, safe, toJson, writeLine } from "../terminal.js";
import { writeId } from "./fields.js";

/** @throws CliError, ConfigError, AuthError `store_unavailable` */
export async function exportUsers(
  session: Session,
  file: string | undefined,
  { json }: JsonOption,
): Promise<void> {
  const { terminal } = session;
  const toStdout = file === undefined || file === "-";
  const users = await withUsers(session, (store) =>
    toStdout ? writeUsers(store.list(), terminal.stdout) : writeFile(store.list(), file),
  );
  const text = json
    ? toJson({ users, file: toStdout ? null : file })
    : `users exported${toStdout ? "" : ` to ${safe(file)}`}: ${users}`;
  // Without a file, standard output holds the export itself.
  await (toStdout ? note(terminal, text) : writeLine(terminal.stdout, text));
}

type Output = Parameters<typeof writeLine>[0];

async function writeUsers(users: AsyncIterable<User>, output: Output): Promise<number> {
  let count = 0;
  for await (const user of users) {
    await writeLine(output, exportLine(user));
    count++;
  }
  return count;
}

/** A user as `users import` reads one. The JSON has no control characters that a terminal would obey. */
export function exportLine(user: User): string {
  const { id, username, passwordHash, disabled, roles, tokensValidAfter } = user;
  return toJson({ _id: writeId(id), username, passwordHash, disabled, roles, tokensValidAfter });
}

/** Never overwrites a file; removes one that could not be finished. */
async function writeFile(users: AsyncIterable<User>, path: string): Promise<number> {
  const handle = await open(path, "wx", 0o600).catch((error: unknown) => {
    const { code } = error as NodeJS.ErrnoException;
    const reason = code === "EEXIST" ? "it exists already" : (code ?? "unknown");
    throw new CliError("file_unwritable", `${path} cannot be written: ${reason}`);
  });
  const stream = createWriteStream(path, { fd: handle, flush: true });
  // Each write gets its own error in its callback.
  stream.on("error", () => undefined);
  try {
    const count = await writeUsers(users, stream);
    await new Promise<void>((resolve, reject) => {
      stream.end((error?: Error | null) => (error ? reject(error) : resolve()));
    });
    return count;
  } catch (error) {
    stream.destroy();
    await rm(path, { force: true });
    if (error instanceof CliError && error.code === "output_failed") {
      throw new CliError("file_unwritable", `${path} ${error.message}`);
    }
    throw error;
  }
}
