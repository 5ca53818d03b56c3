/** The management port: `/livez`, `/readyz`, `/metrics` and the status page, for operators. */
import { once } from "node:events";
import {
  createServer,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type ServerOptions,
} from "node:http";
import type { AddressInfo } from "node:net";
import { baseUrl } from "./base-url.js";
import type { Readiness } from "./readiness.js";
import { pathOf, refusalOf } from "./request-rules.js";

export interface ManagementOptions {
  readonly readiness: Pick<Readiness, "isReady" | "problems">;
  readonly metrics: () => Promise<{ readonly contentType: string; readonly body: string }>;
  /** The page under a path; undefined if there is none. */
  readonly page?: (path: string) => Promise<ManagementPage | undefined>;
}

export interface ManagementPage {
  readonly type: string;
  readonly body: string;
  readonly headers?: OutgoingHttpHeaders | undefined;
}

export interface ManagementServer {
  /**
   * Resolves with the base URL when connections are accepted.
   * @throws the system's error
   */
  listen(port: number, host: string): Promise<string>;
  /** Cuts the open connections. */
  close(): Promise<void>;
}

const serverOptions: ServerOptions = {
  requestTimeout: 10_000,
  headersTimeout: 10_000,
  // `refusalOf` checks the host.
  requireHostHeader: false,
};

const isRead = ({ method }: IncomingMessage) => method === "GET" || method === "HEAD";

export function createManagementServer(options: ManagementOptions): ManagementServer {
  const { readiness, metrics, page } = options;
  const server = createServer(serverOptions, (req, res) => {
    const path = pathOf(req.url)?.split("?", 1)[0];
    const refusal = refusalOf(req);
    if (refusal !== undefined) {
      res.setHeader("connection", "close");
      answerJson(refusal, { status: "refused" });
    } else if (path === "/livez") {
      answerJson(200, { status: "ok" });
    } else if (path === "/readyz") {
      const problems = readiness.problems();
      const isReady = readiness.isReady();
      answerJson(
        isReady ? 200 : 503,
        isReady ? { status: "ok" } : { status: "not ready", problems },
      );
    } else if (path === "/metrics") {
      metrics().then(
        ({ contentType, body }) => answer(200, contentType, body),
        () => answerJson(500, { status: "error" }),
      );
    } else if (page !== undefined && path !== undefined && isRead(req)) {
      page(path).then(
        (found) => {
          if (found === undefined) answerJson(404, { status: "not found" });
          else answer(200, found.type, found.body, found.headers);
        },
        () => answerJson(500, { status: "error" }),
      );
    } else {
      answerJson(404, { status: "not found" });
    }

    function answerJson(status: number, body: object): void {
      answer(status, "application/json", JSON.stringify(body));
    }

    function answer(
      status: number,
      contentType: string,
      body: string,
      headers?: OutgoingHttpHeaders,
    ): void {
      const own = { "content-type": contentType, "cache-control": "no-store" };
      res.writeHead(status, { ...headers, ...own });
      res.end(body);
    }
  });

  // As on the public port.
  Object.assign(server, { httpAllowHalfOpen: true, maxHeadersCount: 0 });

  return {
    async listen(port, host) {
      server.listen(port, host);
      await once(server, "listening");
      return baseUrl(server.address() as AddressInfo);
    },
    async close() {
      if (!server.listening) return;
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}
