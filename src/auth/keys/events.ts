/**
 * Names each change of the key ring for the audit log and the metrics. Depends on the ring.
 */
import { isRevoked, type Ring } from "./ring.js";

/**
 * A change of a key. The replica that made it reports it once, as does every replica that sees it.
 */
export interface KeyChange {
  readonly type:
    | "key_generated"
    | "key_published"
    | "key_signing"
    | "key_retired"
    | "key_removed"
    | "key_revoked"
    | "key_imported";
  readonly kid: string;
  /** Another process made the change: a replica, or an operator's command. */
  readonly elsewhere?: true;
}

export type KeyEvent =
  | KeyChange
  | { readonly type: "keys_resealed" }
  /** This replica cannot open a key that another one published: their encryption keys differ. */
  | { readonly type: "key_unreadable"; readonly kid: string; readonly error: unknown }
  /** The first failure of a series, and the end of the series. */
  | { readonly type: "refresh_failed"; readonly error: unknown }
  | { readonly type: "refresh_recovered" };

/** The events of one change, in the order in which to report them. */
export function keyEvents(before: Ring, after: Ring): KeyChange[] {
  const stateBefore = new Map(before.keys.map((key) => [key.kid, key.state]));
  const kidsAfter = new Set(after.keys.map((key) => key.kid));
  const revokedBefore = new Set(before.revoked.map(({ kid }) => kid));
  const revoked = after.revoked.filter(({ kid }) => !revokedBefore.has(kid));
  const removed = before.keys.filter((key) => !kidsAfter.has(key.kid) && !isRevoked(after, key));
  return [
    ...revoked.map(({ kid }) => ({ type: "key_revoked", kid }) as const),
    ...after.keys.flatMap(({ kid, state, imported }): KeyChange[] => {
      if (state === stateBefore.get(kid)) return [];
      if (imported && !stateBefore.has(kid)) return [{ type: "key_imported", kid }];
      return state === "trusted" ? [] : [{ type: `key_${state}`, kid }];
    }),
    ...removed.map(({ kid }) => ({ type: "key_removed", kid }) as const),
  ];
}
