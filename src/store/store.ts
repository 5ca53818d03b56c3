/** The interface of both stores. Depends on the ports of auth and of the optional rooms. */
import type { AuditStore } from "../auth/audit.js";
import type { KeyStore } from "../auth/keys/keys.js";
import type { ThrottleStore } from "../auth/throttle/throttle.js";
import type { UserStore } from "../auth/users.js";
import type { RevocationStore } from "../revocations/store.js";
import type { TakeoverStore } from "../takeover/store.js";
import type { Finding, InspectionOptions } from "./inspection.js";

export interface Store {
  readonly users: UserStore;
  readonly keys: KeyStore;
  readonly throttle: ThrottleStore;
  readonly audit: AuditStore;
  readonly revocations: RevocationStore;
  readonly takeover: TakeoverStore;
  /** 32 random bytes, the same for every process on this store. */
  secret(): Promise<Uint8Array>;
  /**
   * Runs the checks of `doctor` on the store.
   * @throws AuthError `store_unavailable`
   */
  inspect(options: InspectionOptions): AsyncIterable<Finding>;
  /**
   * Resolves if the store can be written, else throws AuthError `store_unavailable`. Present only in a store
   * that can become readable but not writable.
   */
  probe?(): Promise<void>;
  /** Resolves if the store answers, else throws AuthError `store_unavailable`. */
  ping(): Promise<void>;
  /**
   * What an operator should mend in the store's set-up, in one sentence each.
   * @throws AuthError `store_unavailable`
   */
  warnings(): Promise<readonly string[]>;
  close(): Promise<void>;
}
