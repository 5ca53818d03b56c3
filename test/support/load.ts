/** Light load of logins over HTTP/1.1 and h2c at once, that knows which answers it should have got. */
import { once } from "node:events";
import { Agent } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { setTimeout as sleep } from "node:timers/promises";
import { basic } from "./http.js";
import { fetchHttp1, fetchHttp2, StreamError } from "./listener.js";

export interface Load {
  /** How many answers have come. */
  answered(): number;
  /** Ends it where the service does not; resolves with everything that was lost, once it is over. */
  ended(): Promise<string[]>;
  stop(): void;
  /**
   * From now on a new connection may be reset: node's cluster accepts in the primary and, when the last
   * worker has closed, has nobody to give it to.
   */
  workersEnd(): void;
}

const path = "/api/auth/token";
const codeOf = (error: unknown) => (error as NodeJS.ErrnoException).code;

/** Goes on until the port is closed. A client may try again only what the server says it never saw. */
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
          // Whoever accepts a connection sends its settings first.
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
