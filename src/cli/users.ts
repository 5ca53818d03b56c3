/**
 * `latchkey users …`. Depends on the domain's users; password hashing and the import are loaded by the
 * commands that need them.
 */
import { randomBytes } from "node:crypto";
import { Option, type Command } from "commander";
import {
  toUserId,
  userIdTypes,
  type User,
  type UserChange,
  type UserId,
  type UserIdType,
  type UserStore,
} from "../auth/users.js";
import {
  describeCommand,
  isSameSecond,
  waitForNextSecond,
  withUsers,
  type JsonOption,
  type Session,
} from "./command.js";
import {
  CliError,
  formatTable,
  readNewPassword,
  safe,
  toJson,
  warn,
  writeLine,
} from "./terminal.js";
import { checkNewPassword, FieldFault, readRoles, readText, writeId } from "./user-fields.js";
import type { ImportOptions } from "./users-import.js";

interface PasswordOptions extends JsonOption {
  readonly passwordStdin?: boolean;
}

interface AddOptions extends PasswordOptions {
  readonly id?: string;
  readonly idType?: UserIdType;
  readonly role: readonly string[];
}

export function addUsersCommands(program: Command, session: Session): void {
  const users = program.command("users").description("Manage the users.");
  const command = (usage: string, summary: string, example: string) =>
    describeCommand(users.command(usage), summary, example);
  const passwordStdin = () =>
    new Option("--password-stdin", "read the password from standard input, one line");

  command(
    "add <name>",
    "Add a user. The password is asked for, twice.",
    "latchkey users add TestUser --id 1 --role player",
  )
    .option("--id <id>", "the _id, an integer if it is all digits; without it a new ObjectId")
    .addOption(new Option("--id-type <type>", "what --id is").choices(userIdTypes))
    .addOption(
      new Option("--role <role>", "a role, may be repeated")
        .default([], "none")
        .argParser((role, roles: string[]) => [...roles, role]),
    )
    .addOption(passwordStdin())
    .action((name: string, options: AddOptions) => addUser(session, name, options));

  command(
    "import <file>",
    "Import users from NDJSON, - for standard input: one " +
      `{"_id","username","passwordHash","disabled","roles"} a line.`,
    "latchkey users import users.ndjson --dry-run",
  )
    .option("--dry-run", "write nothing, say what would be done", false)
    .addOption(
      new Option("--on-conflict <policy>", "what to do with a user who is stored already")
        .choices(["fail", "skip", "replace"])
        .default("fail"),
    )
    .action(async (file: string, options: ImportOptions) => {
      const { importUsers } = await import("./users-import.js");
      await importUsers(session, file, options);
    });

  command("list", "List all users, as they come.", "latchkey users list --json").action(
    (options: JsonOption) => listUsers(session, options),
  );
  command("show <name>", "Show one user.", "latchkey users show TestUser").action(
    (name: string, options: JsonOption) =>
      withUser(session, name, async (user) => {
        const { describeUser, userRows } = await import("./user-views.js");
        const text = options.json ? toJson(describeUser(user)) : userRows(user).join("\n");
        await writeLine(session.terminal.stdout, text);
      }),
  );
  command(
    "disable <name>",
    "Refuse a user's logins and tokens from now on.",
    "latchkey users disable TestUser",
  ).action((name: string, options: JsonOption) =>
    changeUser(session, name, options, "disabled", (users, { id }) =>
      users.update(id, { disabled: true }),
    ),
  );
  command(
    "enable <name>",
    "Let a disabled user in again.",
    "latchkey users enable TestUser",
  ).action((name: string, options: JsonOption) =>
    changeUser(session, name, options, "enabled", (users, { id }) =>
      users.update(id, { disabled: false }),
    ),
  );
  command(
    "passwd <name>",
    "Set a new password, asked for twice; tokens issued until now end.",
    "latchkey users passwd TestUser --password-stdin < password.txt",
  )
    .addOption(passwordStdin())
    .action((name: string, options: PasswordOptions) =>
      changeUser(session, name, options, "set the password of", async (users, { id }, min) => {
        const passwordHash = await hashNewPassword(session, options, min);
        return updateAndRevoke(session, users, id, { passwordHash });
      }),
    );
  command("remove <name>", "Remove a user for good.", "latchkey users remove TestUser").action(
    (name: string, options: JsonOption) =>
      changeUser(session, name, options, "removed", (users, { id }) => users.remove(id)),
  );
  command(
    "revoke <name>",
    "End every token issued to a user until now.",
    "latchkey users revoke TestUser",
  ).action((name: string, options: JsonOption) =>
    changeUser(session, name, options, "revoked the tokens of", (users, { id }) =>
      updateAndRevoke(session, users, id, {}),
    ),
  );
}

async function addUser(session: Session, name: string, options: AddOptions): Promise<void> {
  const { terminal, clock } = session;
  const username = usage(() => readText("the name", name));
  const roles = usage(() => readRoles(options.role));
  const id = usage(() => idOf(options, clock.now()));
  if (username.includes(":")) {
    await warn(terminal, "a name with a colon cannot log in with HTTP Basic", options.json);
  }
  await withUsers(session, async (users, { PASSWORD_MIN_LENGTH }) => {
    if (await users.findByUsername(username)) throw taken("username_taken", "the name");
    // Two users of one subject, as 1 and "1", would lock each other out.
    if (await users.findBySubject(id.value)) throw taken("id_taken", "the _id");
    const passwordHash = await hashNewPassword(session, options, PASSWORD_MIN_LENGTH);
    const tokensValidAfter = new Date(clock.now());
    const outcome = await users.add({
      id,
      username,
      passwordHash,
      disabled: false,
      roles,
      tokensValidAfter,
    });
    if (outcome !== "added") {
      throw taken(outcome, outcome === "id_taken" ? "the _id" : "the name");
    }
    await waitForNextSecond(clock, tokensValidAfter.getTime());
  });
  const text = `added ${safe(username)} with the _id ${safe(id.value)} (${id.type})`;
  await writeLine(terminal.stdout, options.json ? toJson({ _id: writeId(id), username }) : text);
}

const taken = (code: string, what: string) =>
  new CliError(code, `${what} belongs to a user already`);

/** What an argument is wrong in is wrong usage. */
function usage<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof FieldFault) throw new CliError("usage", error.message, 2);
    throw error;
  }
}

function idOf({ id, idType }: AddOptions, nowMs: number): UserId {
  if (id === undefined) {
    if (idType !== undefined) throw new FieldFault("--id-type", "needs --id");
    return { type: "objectid", value: newObjectId(nowMs) };
  }
  const type = idType ?? (/^\d+$/.test(id) ? "int" : "string");
  const text = type === "objectid" || type === "uuid" ? id.toLowerCase() : readText("--id", id);
  const userId = toUserId(type, text);
  if (userId === undefined) throw new FieldFault("--id", `is no ${type}; see --id-type`);
  return userId;
}

/** As MongoDB makes them: four bytes of seconds, then eight that nobody else has. */
function newObjectId(nowMs: number): string {
  const bytes = Buffer.concat([Buffer.alloc(4), randomBytes(8)]);
  bytes.writeUInt32BE(Math.floor(nowMs / 1000));
  return bytes.toString("hex");
}

async function hashNewPassword(
  { terminal }: Session,
  { passwordStdin = false }: PasswordOptions,
  lengthMin: number,
): Promise<string> {
  const password = await readNewPassword(terminal, passwordStdin);
  try {
    checkNewPassword(password, lengthMin);
  } catch (error) {
    if (!(error instanceof FieldFault)) throw error;
    throw new CliError("password_refused", `the ${error.message}`);
  }
  const { hashPassword } = await import("../auth/passwords.js");
  return hashPassword(password);
}

/** Changes a user such that no token issued before is accepted back, and any issued after is. */
async function updateAndRevoke(
  { clock }: Session,
  users: UserStore,
  id: UserId,
  change: UserChange,
): Promise<boolean> {
  let timeMs = clock.now();
  if (!(await users.update(id, { ...change, tokensValidAfter: new Date(timeMs) }))) return false;
  if (!isSameSecond(timeMs, clock.now())) {
    // The second turned before the change was there: a token of the new one may still be by the old.
    timeMs = clock.now();
    if (!(await users.update(id, { tokensValidAfter: new Date(timeMs) }))) return false;
  }
  await waitForNextSecond(clock, timeMs);
  return true;
}

async function listUsers(session: Session, { json }: JsonOption): Promise<void> {
  const { stdout } = session.terminal;
  const { describeUser, listHeader, listRow } = await import("./user-views.js");
  await withUsers(session, async (users) => {
    if (json) {
      for await (const user of users.list()) await writeLine(stdout, toJson(describeUser(user)));
      return;
    }
    for await (const line of formatTable(listHeader, mapped(users.list(), listRow))) {
      await writeLine(stdout, line);
    }
  });
}

async function* mapped<T, U>(values: AsyncIterable<T>, map: (value: T) => U): AsyncGenerator<U> {
  for await (const value of values) yield map(value);
}

function withUser(
  session: Session,
  name: string,
  work: (user: User, users: UserStore, passwordLengthMin: number) => Promise<void>,
): Promise<void> {
  return withUsers(session, async (users, { PASSWORD_MIN_LENGTH }) => {
    const user = await users.findByUsername(name);
    if (user === undefined) throw unknownUser();
    await work(user, users, PASSWORD_MIN_LENGTH);
  });
}

/** Runs a change of one user, false where the user has gone, and says what was done. */
function changeUser(
  session: Session,
  name: string,
  { json }: JsonOption,
  done: string,
  change: (users: UserStore, user: User, passwordLengthMin: number) => Promise<boolean>,
): Promise<void> {
  return withUser(session, name, async (user, users, passwordLengthMin) => {
    if (!(await change(users, user, passwordLengthMin))) throw unknownUser();
    const { id, username } = user;
    await writeLine(
      session.terminal.stdout,
      json ? toJson({ _id: writeId(id), username }) : `${done} ${safe(username)}`,
    );
  });
}

const unknownUser = () => new CliError("unknown_user", "there is no user of that name");
