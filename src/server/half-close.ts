/**
 * HTTP/1.1 clients that have ended their side while an answer is due. Some have said all that they had to say
 * and wait; others have left. On the wire these look alike, until something is sent to them. Depends on the
 * neighbour `connections.ts`.
 */
import type { Connection } from "./connections.js";

/** For how long one who ended his side with his request, as scripts do, is spared the question. */
const quietMs = 500;
/** Within this time after a request the end of the client's side belongs to it. */
const withRequestMs = 50;
const pollMs = 50;

/**
 * Finds out whether the client is still there, and cuts the connection if not, or after `answerTimeoutMs`.
 *
 * Who waits has to pass over a `100 Continue` (RFC 9110 section 15.2), who has left resets the connection. Node
 * reads no more from it, so it learns of that by writing.
 */
export function watchHalfClosed({ socket, exchanges }: Connection, answerTimeoutMs: number): void {
  socket.once("end", () => {
    const [last] = [...exchanges].slice(-1);
    if (last === undefined) return;
    const endedAt = performance.now();
    const askAfterMs = endedAt - last.startedAt < withRequestMs ? quietMs : 0;
    let isAsked = false;
    const timer = setInterval(() => {
      const waitedMs = performance.now() - endedAt;
      if (waitedMs >= answerTimeoutMs) socket.destroy();
      else if (isAsked) socket.write("");
      else if (waitedMs >= askAfterMs) {
        isAsked = true;
        const [first] = exchanges;
        // On 1.0 there is no such answer.
        if (first?.req.httpVersion === "1.1" && !first.res.headersSent) first.res.writeContinue();
      }
    }, pollMs);
    socket.once("close", () => clearInterval(timer));
  });
}
