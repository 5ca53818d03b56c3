/** Decides what an import does with each user, for every store. Depends on the domain's users. */
import type { UsernameKey } from "../auth/usernames.js";
import type { ImportConflict, ImportOutcome, User, UserId, UserToImport } from "../auth/users.js";

export const idKey = (id: UserId) => `${id.type}:${id.value}`;

/** A stored record with an `_id` or username of the import. `id` and `username` are undefined if not readable. */
export interface Occupant {
  readonly id: UserId | undefined;
  readonly username: string | undefined;
  readonly passwordHash: string | undefined;
  /** The stored fields of the hash by path, in a store that may have several. */
  readonly hashFields?: Readonly<Record<string, unknown>>;
  readonly disabled: boolean;
  readonly roles: readonly string[];
  readonly tokensValidAfter: Date | undefined;
}

/** A user to add, with the defaults of absent fields. */
const asNew = ({ disabled = false, roles = [], ...user }: UserToImport): User => ({
  ...user,
  disabled,
  roles,
});

export interface PlannedWrite {
  /** The record that it replaces; undefined if it adds one. */
  readonly previous: Occupant | undefined;
  readonly user: User;
  /** The positions in the import that this write settles: several if the user occurs more than once. */
  readonly positions: readonly number[];
}

/**
 * Returns the outcome of each user, and one write for each user to store. A user is checked against the earlier
 * users of the same import as if these were stored already.
 */
export function planImport(
  users: readonly UserToImport[],
  stored: readonly Occupant[],
  { onConflict, replacedAt }: { onConflict: ImportConflict; replacedAt: Date },
  usernameKey: UsernameKey,
): { outcomes: ImportOutcome[]; writes: PlannedWrite[] } {
  const byId = new Map<string, Occupant>();
  const byUsername = new Map<string, Occupant>();
  const writes = new Map<string, PlannedWrite>();
  const occupy = (occupant: Occupant) => {
    if (occupant.id !== undefined) byId.set(idKey(occupant.id), occupant);
    if (occupant.username !== undefined) byUsername.set(usernameKey(occupant.username), occupant);
  };
  const write = (user: User, previous: Occupant | undefined, position: number) => {
    const earlier = writes.get(idKey(user.id));
    writes.set(idKey(user.id), {
      previous: earlier ? earlier.previous : previous,
      user,
      positions: [...(earlier?.positions ?? []), position],
    });
    occupy(user);
  };
  stored.forEach(occupy);

  const outcomes = users.map((user, position): ImportOutcome => {
    const sameId = byId.get(idKey(user.id));
    const sameUsername = byUsername.get(usernameKey(user.username));
    if (sameId === undefined && sameUsername === undefined) {
      write(asNew(user), undefined, position);
      return "added";
    }
    if (sameId === undefined) return "username_taken";
    if (sameId !== sameUsername) return "id_taken";
    if (onConflict !== "replace") return onConflict === "skip" ? "skipped" : "exists";
    const { passwordHash = sameId.passwordHash, disabled = sameId.disabled } = user;
    const { roles = sameId.roles } = user;
    const tokensValidAfter =
      sameId.passwordHash === passwordHash ? sameId.tokensValidAfter : replacedAt;
    write({ ...user, passwordHash, disabled, roles, tokensValidAfter }, sameId, position);
    return "replaced";
  });
  return { outcomes, writes: [...writes.values()] };
}

/** Returns one write for each user who shares neither `_id` nor username with another user of the import. */
export function planLoneUsers(
  users: readonly UserToImport[],
  usernameKey: UsernameKey,
): PlannedWrite[] {
  const counts = new Map<string, number>();
  const keys = users.map(({ id, username }) => [
    `id ${idKey(id)}`,
    `name ${usernameKey(username)}`,
  ]);
  for (const key of keys.flat()) counts.set(key, (counts.get(key) ?? 0) + 1);
  return users.flatMap((user, position) =>
    keys[position]?.every((key) => counts.get(key) === 1)
      ? { previous: undefined, user: asNew(user), positions: [position] }
      : [],
  );
}
