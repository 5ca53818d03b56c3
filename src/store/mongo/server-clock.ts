/**
 * What time it is at MongoDB's primary, as its answers to the driver's heartbeats say (`localTime` of `hello`).
 * Depends on mongodb.
 */
import type { MongoClient, ServerHeartbeatSucceededEvent } from "mongodb";

export class ServerClock {
  /** What has to be added to a clock that only goes forward; this machine's own before the first answer. */
  #offsetMs = Date.now() - performance.now();

  constructor(client: Pick<MongoClient, "on">) {
    client.on("serverHeartbeatSucceeded", (event) => this.#observe(event));
  }

  now(): number {
    return performance.now() + this.#offsetMs;
  }

  #observe({ reply }: Pick<ServerHeartbeatSucceededEvent, "reply">): void {
    const { localTime, isWritablePrimary, ismaster } = reply as Readonly<Record<string, unknown>>;
    if (!(localTime instanceof Date) || !(isWritablePrimary ?? ismaster)) return;
    this.#offsetMs = localTime.getTime() - performance.now();
  }
}
