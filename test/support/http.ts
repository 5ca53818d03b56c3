/** HTTP/1.1 calls over one kept-alive connection. Every byte of the answer can be seen. */
import * as http from "node:http";
import * as https from "node:https";
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from "node:http";

export interface Call {
  readonly method?: string;
  /** An object, or names and values in turn if a name is repeated. */
  readonly headers?: OutgoingHttpHeaders | readonly string[];
  readonly body?: string | Uint8Array;
}

export interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  /** The local port of the connection that the answer came on. */
  readonly localPort: number | undefined;
}

export interface HttpClient {
  call(path: string, call?: Call): Promise<Reply>;
  close(): void;
}

/**
 * A client that uses one connection at a time.
 * @param ca the authority of the server's certificate, PEM
 */
export function createHttpClient(baseUrl: string, ca?: string): HttpClient {
  const { Agent, request } = baseUrl.startsWith("https:") ? https : http;
  const agent = new Agent({ keepAlive: true, maxSockets: 1, ...(ca !== undefined && { ca }) });
  return {
    call: (path, { method = "POST", headers = {}, body } = {}) =>
      new Promise((resolve, reject) => {
        const req = request(new URL(path, baseUrl), { agent, method, headers }, (res) => {
          const localPort = res.socket.localPort;
          let text = "";
          res.setEncoding("utf8");
          res.on("data", (chunk: string) => (text += chunk));
          res.once("error", reject);
          res.once("end", () => {
            resolve({ status: res.statusCode ?? 0, headers: res.headers, body: text, localPort });
          });
        });
        req.once("error", reject);
        req.end(body);
      }),
    close: () => agent.destroy(),
  };
}

export function basic(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
}
