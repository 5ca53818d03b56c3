/**
 * Watches whether the store can be written: reads may still succeed when writes fail. Depends on
 * the store's port.
 */
import type { Store } from "../store/store.js";

const usualIntervalMs = 5000;

/**
 * Calls `onChange` with the error when writing starts to fail, and with undefined when it works
 * again.
 */
export function watchStore(
  { probe }: Pick<Store, "probe">,
  onChange: (error: unknown) => void,
  intervalMs = usualIntervalMs,
): () => void {
  if (probe === undefined) return () => undefined;
  let hasFailed = false;
  const look = async () => {
    const error: unknown = await probe().then(
      () => undefined,
      (reason: unknown) => reason,
    );
    const fails = error !== undefined;
    if (fails !== hasFailed) onChange(error);
    hasFailed = fails;
  };
  const timer = setInterval(() => void look(), intervalMs);
  return () => clearInterval(timer);
}
