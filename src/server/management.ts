/** The management port: `/livez`, `/readyz` and `/metrics`, for those who run the service. */
import { createServer, type Server } from "node:http";
import type { Readiness } from "./readiness.js";

export interface ManagementOptions {
  readonly readiness: Pick<Readiness, "isReady" | "problems">;
  readonly metrics: () => Promise<{ readonly contentType: string; readonly body: string }>;
}

export function createManagementServer({ readiness, metrics }: ManagementOptions): Server {
  return createServer((req, res) => {
    const path = req.url?.split("?", 1)[0];
    if (path === "/livez") {
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
}
