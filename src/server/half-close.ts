/**
 * HTTP/1.1 clients that end their side while an answer is due. Some wait for the answer, others
 * have left: the wire shows the difference only when something is sent. Depends on the neighbour
 * `connections.ts`.
 */
import type { Connection } from "./connections.js";

/** A client that ends its side with its request, as scripts do, is not asked for this long. */
const quietMs = 500;
/** An end within this time after the request belongs to the request. */
const withRequestMs = 50;
const pollMs = 50;

/**
 * Finds out whether the client is still there. Cuts the connection if not, or after
 * `answerTimeoutMs`. A waiting client has to ignore a `100 Continue` (RFC 9110 section 15.2); a
 * client that has left resets the connection, which node notices only by writing.
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
        // HTTP/1.0 has no such answer.
        if (first?.req.httpVersion === "1.1" && !first.res.headersSent) first.res.writeContinue();
      }
    }, pollMs);
    socket.once("close", () => clearInterval(timer));
  });
}
