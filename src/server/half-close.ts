/**
 * HTTP/1.1 clients that have ended their side while an answer is due. Some have said all that they had to say
 * and wait; others have left. On the wire these look alike, until something is sent to them. Depends on the
 * neighbour `connections.ts`.
 */
import type { Connection } from "./connections.js";

/** For how long the answer itself is expected to be the first that is sent. */
const quietMs = 500;
const pollMs = 100;

/**
 * Finds out whether the client is still there, and cuts the connection if not, or after `answerTimeoutMs`.
 *
 * Who waits has to pass over a `100 Continue` (RFC 9110 section 15.2), who has left resets the connection. Node
 * reads no more from it, so it learns of that by writing.
 */
export function watchHalfClosed({ socket, exchanges }: Connection, answerTimeoutMs: number): void {
  socket.once("end", () => {
    if (exchanges.size === 0) return;
    const endedAt = performance.now();
    let isAsked = false;
    const timer = setInterval(() => {
      const waitedMs = performance.now() - endedAt;
      if (waitedMs >= answerTimeoutMs) socket.destroy();
      else if (isAsked) socket.write("");
      else if (waitedMs >= quietMs) {
        isAsked = true;
        const [first] = exchanges;
        // On 1.0 there is no such answer.
        if (first?.req.httpVersion === "1.1" && !first.res.headersSent) first.res.writeContinue();
      }
    }, pollMs);
    socket.once("close", () => clearInterval(timer));
  });
}
