/**
 * The error of a store that does not answer, and the deadline of a call. Depends on the domain's errors.
 */
import { AuthError } from "../auth/errors.js";

/**
 * Time after which a call fails. A request makes at most two calls in sequence, and is answered within 5 s.
 */
export const storeDeadlineMs = 2000;

export const storeUnavailable = (message: string, cause?: unknown, wroteNothing = false) =>
  new AuthError("store_unavailable", message, { retryAfterSeconds: 1, cause, wroteNothing });

/**
 * Settles like `work`, or rejects after `deadlineMs`; `work` itself is not cancelled.
 * @throws AuthError `store_unavailable` after the deadline
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
