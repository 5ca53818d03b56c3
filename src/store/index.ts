/**
 * The stores behind the domain's ports, and the choice between them. Depends on auth and config.
 */
import type { KeyStore } from "../auth/keys.js";
import type { UserStore } from "../auth/users.js";

export interface Store {
  readonly users: UserStore;
  readonly keys: KeyStore;
  /** Resolves while the store answers, else throws `store_unavailable`. */
  ping(): Promise<void>;
  close(): Promise<void>;
}
