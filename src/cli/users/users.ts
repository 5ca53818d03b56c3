/**
 * `latchkey users …`. Depends on commander and the domain's users; each command loads its own modules when it
 * runs.
 */
import { Option, type Command } from "commander";
import {
  userIdTypes,
  type User,
  type UserChange,
  type UserId,
  type UserStore,
} from "../../auth/users.js";
import { afterWrites } from "../../auth/errors.js";
import type { Config } from "../../config/config.js";
import {
  describeCommand,
  isSameSecond,
  waitForNextSecond,
  withStore,
  withUsers,
  type JsonOption,
  type Session,
} from "../command.js";
import type { Store } from "../../store/store.js";
import { recorded, userCalled } from "../record.js";
import { importFormats } from "../import/objects.js";
import { addUnlockCommand } from "../throttle.js";
import { CliError, formatTable, safe, toJson, writeLine } from "../terminal.js";
import { writeId } from "./fields.js";
import type { AddOptions } from "./add.js";
import type { ImportOptions } from "../import/import.js";

export function addUsersCommands(program: Command, session: Session): void {
  const users = program.command("users").description("Manage the users.");
  addAddCommand(users, session);
  addImportCommand(users, session);
  addViewCommands(users, session);
  addExportCommand(users, session);
  addSetCommand(users, session);
  for (const change of changes) addChangeCommand(users, session, change);
  addPasswdCommand(users, session);
  addUnlockCommand(users, session);
}

const passwordStdinOption = () =>
  new Option("--password-stdin", "read the password from standard input, one line").default(
    false,
    "ask on the terminal",
  );

const roleOption = () =>
  new Option("--role <role>", "a role, may be repeated")
    .default([], "none")
    .argParser((role, roles: string[]) => [...roles, role]);

function addAddCommand(users: Command, session: Session): void {
  describeCommand(
    users.command("add <name>"),
    "Add a user. Asks for the password, twice.",
    "latchkey users add TestUser --id 1 --role player",
  )
    .option("--id <id>", "the _id, an integer if it is all digits; without it a new ObjectId")
    .addOption(new Option("--id-type <type>", "the type of --id").choices(userIdTypes))
    .addOption(roleOption())
    .addOption(passwordStdinOption())
    .action(async (name: string, options: AddOptions) => {
      const { addUser } = await import("./add.js");
      await addUser(session, name, options);
    });
}

function addImportCommand(users: Command, session: Session): void {
  describeCommand(
    users.command("import <file>"),
    "Import users from NDJSON, - for standard input: one " +
      `{"_id","username","passwordHash","disabled","roles"} a line.`,
    "latchkey users import users.ndjson --dry-run",
  )
    .option("--dry-run", "write nothing, say what would be done", false)
    .addOption(
      new Option(
        "--on-conflict <policy>",
        "what to do with a user who is stored already; replace keeps fields that the line leaves out",
      )
        .choices(["fail", "skip", "replace"])
        .default("fail"),
    )
    .addOption(
      new Option(
        "--format <format>",
        "the system that wrote the file; mongodb uses the USERS_ variables",
      )
        .choices(importFormats)
        .default("latchkey"),
    )
    .option("--firebase-config <path>", "file with the hash parameters of the Firebase project")
    .action(async (file: string, options: ImportOptions) => {
      const { importUsers } = await import("../import/import.js");
      await importUsers(session, file, options);
    });
}

function addViewCommands(users: Command, session: Session): void {
  describeCommand(
    users.command("list"),
    "List all users, in no particular order.",
    "latchkey users list --json",
  ).action((options: JsonOption) => listUsers(session, options));
  describeCommand(
    users.command("show <name>"),
    "Show one user.",
    "latchkey users show TestUser",
  ).action((name: string, { json }: JsonOption) =>
    withUser(session, name, async (user) => {
      const { describeUser, userRows } = await import("./views.js");
      const text = json ? toJson(describeUser(user)) : userRows(user).join("\n");
      await writeLine(session.terminal.stdout, text);
    }),
  );
}

function addExportCommand(users: Command, session: Session): void {
  describeCommand(
    users.command("export [file]"),
    "Write all users with their password hashes, in the form that users import reads. The file must not exist, " +
      "and only its owner can read it; without a file the users go to standard output.",
    "latchkey users export users.ndjson",
  ).action(async (file: string | undefined, options: JsonOption) => {
    const { exportUsers } = await import("./export.js");
    await exportUsers(session, file, options);
  });
}

interface SetOptions extends JsonOption {
  readonly role: readonly string[];
  readonly withoutRoles?: boolean;
}

function addSetCommand(users: Command, session: Session): void {
  describeCommand(
    users.command("set <name>"),
    "Replace the roles of a user. Tokens issued before keep the old roles.",
    "latchkey users set TestUser --role player --role admin",
  )
    .addOption(roleOption())
    .option("--without-roles", "remove all roles")
    .action(async (name: string, { role, withoutRoles = false, json }: SetOptions) => {
      const { readRoles, usage } = await import("./fields.js");
      const roles = usage(() => readRoles(role));
      if ((roles.length === 0) !== withoutRoles) {
        throw new CliError("usage", "give either --role or --without-roles", 2);
      }
      const change: Change = {
        action: "user_roles_set",
        details: { roles },
        done: "set the roles of",
        change: (store, { id }) => store.update(id, { roles }),
      };
      await changeUser(session, name, change, { ...(json !== undefined && { json }) });
    });
}

interface Change {
  /** The action in the administration log. */
  readonly action: string;
  readonly details?: Readonly<Record<string, unknown>>;
  /** The start of the message when it is done; the username follows. */
  readonly done: string;
  /** Resolves with false if the user has been removed meanwhile. */
  readonly change: (users: UserStore, user: User, session: Session) => Promise<boolean>;
}

const changes: readonly (Change & { readonly name: string; readonly summary: string })[] = [
  {
    name: "disable",
    action: "user_disabled",
    summary: "Refuse a user's logins and renewals from now on.",
    done: "disabled",
    change: (users, { id }) => users.update(id, { disabled: true }),
  },
  {
    name: "enable",
    action: "user_enabled",
    summary: "Let a disabled user in again.",
    done: "enabled",
    change: (users, { id }) => users.update(id, { disabled: false }),
  },
  {
    name: "remove",
    action: "user_removed",
    summary: "Remove a user for good.",
    done: "removed",
    change: (users, { id }) => users.remove(id),
  },
  {
    name: "revoke",
    action: "user_revoked",
    summary: "Revoke every token issued to a user until now.",
    done: "revoked the tokens of",
    change: (users, { id }, session) => updateAndRevoke(session, users, id, {}),
  },
];

function addChangeCommand(users: Command, session: Session, row: (typeof changes)[number]): void {
  describeCommand(
    users.command(`${row.name} <name>`),
    row.summary,
    `latchkey users ${row.name} TestUser`,
  ).action((name: string, options: JsonOption) => changeUser(session, name, row, options));
}

function changeUser(
  session: Session,
  name: string,
  { action, details, done, change }: Change,
  options: JsonOption,
): Promise<void> {
  return withUser(session, name, async (user, store) => {
    const { username: target } = user;
    const deed = { action, target, about: userCalled(target), ...(details && { details }) };
    await recorded(session, store, deed, async () => {
      if (!(await change(store.users, user, session))) throw unknownUser(name);
    });
    await tellChange(session, done, user, options);
  });
}

function addPasswdCommand(users: Command, session: Session): void {
  describeCommand(
    users.command("passwd <name>"),
    "Set a new password, which is asked for twice, and revoke the user's tokens.",
    "latchkey users passwd TestUser --password-stdin < password.txt",
  )
    .addOption(passwordStdinOption())
    .action((name: string, options: JsonOption & { readonly passwordStdin: boolean }) =>
      withUser(session, name, async (user, store, { PASSWORD_MIN_LENGTH }) => {
        const { hashNewPassword } = await import("./new-password.js");
        const passwordHash = await hashNewPassword(
          session.terminal,
          user.username,
          options.passwordStdin,
          PASSWORD_MIN_LENGTH,
        );
        const { username: target } = user;
        const deed = { action: "user_password_set", target, about: userCalled(target) };
        await recorded(session, store, deed, async () => {
          if (!(await updateAndRevoke(session, store.users, user.id, { passwordHash }))) {
            throw unknownUser(name);
          }
        });
        await tellChange(session, "set the password of", user, options);
      }),
    );
}

/** Changes a user and revokes his tokens: none issued before the change can be renewed, all issued after can. */
async function updateAndRevoke(
  { clock }: Session,
  users: UserStore,
  id: UserId,
  change: UserChange,
): Promise<boolean> {
  let timeMs = clock.now();
  if (!(await users.update(id, { ...change, tokensValidAfter: new Date(timeMs) }))) return false;
  if (!isSameSecond(timeMs, clock.now())) {
    // A new second began before the change was written: a token issued in it may rest on the old password.
    timeMs = clock.now();
    const again = users.update(id, { tokensValidAfter: new Date(timeMs) });
    if (!(await again.catch(afterWrites))) return false;
  }
  await waitForNextSecond(clock, timeMs);
  return true;
}

async function listUsers(session: Session, { json }: JsonOption): Promise<void> {
  const { stdout } = session.terminal;
  const { describeUser, listHeader, listRow } = await import("./views.js");
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
  work: (user: User, store: Store, config: Config) => Promise<void>,
): Promise<void> {
  return withStore(session, async (store, config) => {
    const user = await store.users.findByUsername(name);
    if (user === undefined) throw unknownUser(name);
    await work(user, store, config);
  });
}

function tellChange(
  { terminal }: Session,
  done: string,
  { id, username }: User,
  { json }: JsonOption,
): Promise<void> {
  const text = json ? toJson({ _id: writeId(id), username }) : `${done} ${safe(username)}`;
  return writeLine(terminal.stdout, text);
}

const unknownUser = (name: string) =>
  new CliError("unknown_user", `there is no user ${JSON.stringify(name)}`);
