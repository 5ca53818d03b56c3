/**
 * The time at MongoDB's primary, taken from its answers to the driver's heartbeats (`localTime` of `hello`).
 * Depends on mongodb.
 */
import type { MongoClient, ServerHeartbeatSucceededEvent } from "mongodb";

export class ServerClock {
  /**
   * The primary's time minus this process's monotonic clock. Until the first answer, this machine's time takes
   * the place of the primary's.
   */
  #offsetMs = Date.now() - performance.now();

  constructor(client: Pick<MongoClient, "on">) {
    client.on("serverHeartbeatSucceeded", (event) => this.#observe(event));
  }

  /** The primary's time, in milliseconds since 1970. */
  now(): number {
    return performance.now() + this.#offsetMs;
  }

  #observe({ reply }: Pick<ServerHeartbeatSucceededEvent, "reply">): void {
    const { localTime, isWritablePrimary, ismaster } = reply as Readonly<Record<string, unknown>>;
    if (!(localTime instanceof Date) || !(isWritablePrimary ?? ismaster)) return;
    this.#offsetMs = localTime.getTime() - performance.now();
  }
}
