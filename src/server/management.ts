/** The management port: `/livez`, `/readyz` and `/metrics`, for those who run the service. */
import { once } from "node:events";
import { createServer, type ServerOptions } from "node:http";
import type { AddressInfo } from "node:net";
import { baseUrl } from "./base-url.js";
import type { Readiness } from "./readiness.js";
import { pathOf, refusalOf } from "./request-rules.js";

export interface ManagementOptions {
  readonly readiness: Pick<Readiness, "isReady" | "problems">;
  readonly metrics: () => Promise<{ readonly contentType: string; readonly body: string }>;
}

export interface ManagementServer {
  /** Resolves with its base URL once it accepts connections. @throws the system's error. */
  listen(port: number, host: string): Promise<string>;
  /** Cuts what is open. */
  close(): Promise<void>;
}

const serverOptions: ServerOptions = {
  requestTimeout: 10_000,
  headersTimeout: 10_000,
  // `refusalOf` sees to it.
  requireHostHeader: false,
};

export function createManagementServer(options: ManagementOptions): ManagementServer {
  const { readiness, metrics } = options;
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
    } else {
      answerJson(404, { status: "not found" });
    }

    function answerJson(status: number, body: object): void {
      answer(status, "application/json", JSON.stringify(body));
    }

    function answer(status: number, contentType: string, body: string): void {
      res.writeHead(status, { "content-type": contentType, "cache-control": "no-store" });
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
