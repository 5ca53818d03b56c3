/**
 * A light load of logins over HTTP/1.1 and h2c at once, which knows the answers that it should get.
 */
import { once } from "node:events";
import { Agent } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { setTimeout as sleep } from "node:timers/promises";
import { basic } from "./http.js";
import { fetchHttp1, fetchHttp2, StreamError } from "./listener.js";

export interface Load {
  /** The number of answers so far. */
  answered(): number;
  /** Resolves with every lost request, once the load has ended. */
  ended(): Promise<string[]>;
  stop(): void;
  /**
   * From now on a new connection may be reset: node's cluster accepts it in the primary, which
   * cannot pass it on after the last worker has closed.
   */
  workersEnd(): void;
}

const path = "/api/auth/token";
const codeOf = (error: unknown) => (error as NodeJS.ErrnoException).code;

/** Runs until the port is closed. Retries only what the server has certainly not processed. */
export function startLoad(
  url: string,
  { username, password }: Readonly<Record<"username" | "password", string>>,
): Load {
  const authorization = basic(username, password);
  const port = Number(new URL(url).port);
  const lost: string[] = [];
  let answered = 0;
  let over = false;
  let mayReset = false;
  const isOn = () => !over;

  function note(what: string, status: number): void {
    answered++;
    if (status !== 200) lost.push(`${what}: status ${status}`);
  }

  async function http1(): Promise<void> {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    while (!over) {
      try {
        const call = { port, agent, path, method: "POST", headers: { authorization } };
        note("HTTP/1.1", (await fetchHttp1(call, "")).status);
      } catch (error) {
        const isNew = !(error as { reusedSocket?: boolean }).reusedSocket;
        const isReset = codeOf(error) === "ECONNRESET" && isNew && mayReset;
        if (codeOf(error) === "ECONNREFUSED" || isReset) break;
        lost.push(`HTTP/1.1: ${String(codeOf(error))}`);
        break;
      }
      await sleep(10);
    }
    agent.destroy();
  }

  async function h2c(): Promise<void> {
    while (!over) {
      const session = connectHttp2(url);
      const goaways: number[] = [];
      session.on("error", () => undefined);
      session.on("goaway", (_code, id: number) => goaways.push(id));
      const settings: unknown[] = [];
      session.on("remoteSettings", (received) => settings.push(received));
      const code = await once(session, "connect").then(() => undefined, codeOf);
      if (code === "ECONNREFUSED") return;
      if (code !== undefined) lost.push(`h2c: ${code}`);
      while (isOn() && goaways.length === 0 && code === undefined) {
        try {
          const call = { ":path": path, authorization };
          note("h2c", (await fetchHttp2(session, call, "")).status);
        } catch (error) {
          const [lastSeen = Infinity] = goaways;
          const isUnseen = error instanceof StreamError && (error.streamId ?? Infinity) > lastSeen;
          // A server that has accepted a connection sends its settings first.
          const isReset = settings.length === 0 && mayReset;
          if (!isUnseen && !isReset) {
            lost.push(`h2c: ${String(error)}, the last one seen is ${lastSeen}`);
          }
          break;
        }
        await sleep(10);
      }
      session.close();
    }
  }

  const clients = [http1(), h2c(), http1(), h2c()];
  return {
    answered: () => answered,
    stop: () => (over = true),
    workersEnd: () => (mayReset = true),
    async ended() {
      await Promise.all(clients);
      return lost;
    },
  };
}
