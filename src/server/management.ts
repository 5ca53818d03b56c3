/** The management port: `/livez` and `/readyz`, for those who run the service. */
import { createServer, type Server } from "node:http";
import type { Readiness } from "./readiness.js";

export function createManagementServer(readiness: Readiness): Server {
  return createServer((req, res) => {
    const path = req.url?.split("?", 1)[0];
    if (path === "/livez") {
      answer(200, { status: "ok" });
    } else if (path === "/readyz") {
      const problems = readiness.problems();
      const isReady = readiness.isReady();
      answer(isReady ? 200 : 503, isReady ? { status: "ok" } : { status: "not ready", problems });
    } else {
      answer(404, { status: "not found" });
    }

    function answer(status: number, body: object): void {
      res.writeHead(status, { "content-type": "application/json", "cache-control": "no-store" });
      res.end(JSON.stringify(body));
    }
  });
}
