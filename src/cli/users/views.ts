/**
 * How a user is shown: with the family and cost of the hash, never with the hash itself. Depends on the
 * domain's users and password hashes.
 */
import { inspectHash } from "../../auth/passwords/passwords.js";
import type { User } from "../../auth/users.js";
import { safe } from "../terminal.js";
import { writeId } from "./fields.js";

/** A user as `--json` writes one; `hash` is null if the user has none. */
export function describeUser({ id, username, passwordHash, ...user }: User) {
  return {
    _id: writeId(id),
    username,
    disabled: user.disabled,
    roles: user.roles,
    hash: passwordHash === undefined ? null : inspectHash(passwordHash),
    tokensValidAfter: user.tokensValidAfter?.toISOString() ?? null,
  };
}

export const listHeader = ["USERNAME", "_ID", "TYPE", "STATE", "PASSWORD", "ROLES"] as const;

export function listRow(user: User): string[] {
  return [
    safe(user.username),
    safe(user.id.value),
    user.id.type,
    user.disabled ? "disabled" : "enabled",
    describePassword(user),
    safe(user.roles.join(",")),
  ];
}

export function userRows(user: User): string[] {
  const values = [...listRow(user), user.tokensValidAfter?.toISOString() ?? "always"];
  return [...listHeader, "TOKENS VALID AFTER"].map((label, index) =>
    `${label.toLowerCase().padEnd(18)}  ${values[index] ?? ""}`.trimEnd(),
  );
}

function describePassword({ passwordHash }: User): string {
  if (passwordHash === undefined) return "none";
  const { family, verdict } = inspectHash(passwordHash);
  return verdict === "ok" ? (family ?? "") : verdict.replace("_", " ");
}
