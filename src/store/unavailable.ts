/**
 * How a store says that it cannot answer, and the deadline that makes it say so. Depends on the
 * domain's errors.
 */
import { AuthError } from "../auth/errors.js";

/**
 * Time after which a call is given up. A request waits for two of them in turn at most, and is answered
 * within 5 s.
 */
export const storeDeadlineMs = 2000;

export const storeUnavailable = (message: string, cause?: unknown) =>
  new AuthError("store_unavailable", message, { retryAfterSeconds: 1, cause });

/**
 * Settles as `work` does, but after `deadlineMs` at the latest. What was begun may still complete.
 * @throws AuthError `store_unavailable` once the time is over.
 */
export async function withDeadline<T>(deadlineMs: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const expiry = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(storeUnavailable(`no answer from the store within ${deadlineMs} ms`)),
      deadlineMs,
    );
  });
  try {
    return await Promise.race([work, expiry]);
  } finally {
    clearTimeout(timer);
  }
}
