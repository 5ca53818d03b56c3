/** Wraps a store and reports the duration of each call. Depends on auth and the ports. */
import { AuthError } from "../auth/errors.js";
import type { Store } from "../store/store.js";

export interface StoreCall {
  /** Port and method, such as `users.findByUsername`. */
  readonly operation: string;
  readonly durationMs: number;
  /** The error, if the call failed. */
  readonly error: AuthError | undefined;
}

export function observeStore(store: Store, onCall: (call: StoreCall) => void): Store {
  return {
    ...store,
    users: observePort("users", store.users, onCall),
    keys: observePort("keys", store.keys, onCall),
    throttle: observePort("throttle", store.throttle, onCall),
  };
}

type Method = (...args: unknown[]) => unknown;

/** Wraps a port: times each method that returns a promise. */
function observePort<T extends object>(
  name: string,
  port: T,
  onCall: (call: StoreCall) => void,
): T {
  const methods = new Map<string | symbol, Method>();
  function observed(property: string | symbol, method: Method): Method {
    const operation = `${name}.${String(property)}`;
    return (...args) => {
      const startMs = performance.now();
      const result = method.apply(port, args);
      if (!(result instanceof Promise)) return result;
      const tell = (error?: AuthError) =>
        onCall({ operation, durationMs: performance.now() - startMs, error });
      result.then(
        () => tell(),
        (error: unknown) => tell(AuthError.from(error)),
      );
      return result;
    };
  }
  return new Proxy(port, {
    get(target, property) {
      const value: unknown = Reflect.get(target, property, target);
      if (typeof value !== "function") return value;
      let method = methods.get(property);
      if (method === undefined) {
        methods.set(property, (method = observed(property, value as Method)));
      }
      return method;
    },
  });
}
