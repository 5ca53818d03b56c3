/**
 * What a change of the key ring is called in the audit log and in metrics. Depends on the ring.
 */
import { isRevoked, type Ring } from "./ring.js";

/** What happened to a key, told once by the replica that did it, and by every one that sees it. */
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
  /** Another process did it: a replica, or an operator's command. */
  readonly elsewhere?: true;
}

export type KeyEvent =
  | KeyChange
  | { readonly type: "keys_resealed" }
  /** This replica cannot open a key that another one published: their encryption keys differ. */
  | { readonly type: "key_unreadable"; readonly kid: string; readonly error: unknown }
  /** The first of a row of failures, and its end. */
  | { readonly type: "refresh_failed"; readonly error: unknown }
  | { readonly type: "refresh_recovered" };

/** The events of one change, in the order in which they should be told. */
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
