/** `latchkey users add`. Depends on the domain's users. */
import { randomBytes } from "node:crypto";
import { toUserId, type UserId, type UserIdType } from "../../auth/users.js";
import { waitForNextSecond, withStore, type JsonOption, type Session } from "../command.js";
import { recorded, userCalled } from "../record.js";
import type { Config } from "../../config/config.js";
import type { Store } from "../../store/store.js";
import { hashNewPassword } from "./new-password.js";
import { CliError, safe, toJson, warn, writeLine } from "../terminal.js";
import { FieldFault, readRoles, readText, usage, writeId } from "./fields.js";

export interface AddOptions extends JsonOption {
  readonly id?: string;
  readonly idType?: UserIdType;
  readonly role: readonly string[];
  readonly passwordStdin: boolean;
}

/** @throws ConfigError, CliError, AuthError `store_unavailable` */
export async function addUser(session: Session, name: string, options: AddOptions): Promise<void> {
  const { terminal, clock } = session;
  const username = usage(() => readText("the name", name));
  const roles = usage(() => readRoles(options.role));
  const id = usage(() => idOf(options, clock.now()));
  if (username.includes(":")) {
    await warn(terminal, "a name with a colon cannot log in with HTTP Basic", options.json);
  }
  const add = async (store: Store, { PASSWORD_MIN_LENGTH }: Config) => {
    const { users } = store;
    if (await users.findByUsername(username)) throw nameTaken(username);
    // Two users with the same subject, such as 1 and "1", would lock each other out.
    if (await users.findBySubject(id.value)) throw idTaken(id);
    const passwordHash = await hashNewPassword(
      terminal,
      username,
      options.passwordStdin,
      PASSWORD_MIN_LENGTH,
    );
    const details = { _id: writeId(id), roles };
    const deed = { action: "user_added", target: username, about: userCalled(username), details };
    await recorded(session, store, deed, async () => {
      const tokensValidAfter = new Date(clock.now());
      const user = { id, username, passwordHash, disabled: false, roles, tokensValidAfter };
      const outcome = await users.add(user);
      if (outcome === "id_taken") throw idTaken(id);
      if (outcome === "username_taken") throw nameTaken(username);
      await waitForNextSecond(clock, tokensValidAfter.getTime());
    });
  };
  await withStore(session, add, { mayCreate: true });
  const text = `added ${safe(username)} with the _id ${safe(id.value)} (${id.type})`;
  await writeLine(terminal.stdout, options.json ? toJson({ _id: writeId(id), username }) : text);
}

const nameTaken = (name: string) =>
  new CliError("username_taken", `the name ${JSON.stringify(name)} belongs to a user already`);
const idTaken = ({ value, type }: UserId) =>
  new CliError("id_taken", `the _id ${value} (${type}) belongs to a user already`);

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

/** An ObjectId as MongoDB makes them: four bytes of seconds, then eight random ones. */
function newObjectId(nowMs: number): string {
  const bytes = Buffer.concat([Buffer.alloc(4), randomBytes(8)]);
  bytes.writeUInt32BE(Math.floor(nowMs / 1000));
  return bytes.toString("hex");
}
