/** `serve`: runs the service until a signal stops it. Depends on commander, app, store and config. */
import { randomBytes } from "node:crypto";
import { constants, mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Command } from "commander";
import type { App, AppDeps } from "../app/app.js";
import {
  likelyTypos,
  hashConcurrency,
  workerCount,
  type Config,
  type Environment,
} from "../config/config.js";
import { nodeWarnings } from "../config/node-release.js";
import { version } from "../config/version.js";
import type { Logs } from "../observability/log.js";
import { readTracingConfig, type TracingConfig } from "../observability/tracing-config.js";
import type { Store } from "../store/store.js";
import { describeCommand, type JsonOption, type Session } from "./command.js";
import { CliError, toJson, warn, writeLine, type Terminal } from "./terminal.js";

export function addServeCommand(program: Command, { terminal }: Session): void {
  describeCommand(
    program.command("serve", { isDefault: true }),
    "Run the service.",
    "MONGODB_URI=mongodb://localhost/app latchkey serve",
  )
    .option(
      "--demo",
      "use a temporary store with a user to try, on 127.0.0.1, and print calls to paste",
    )
    .action(async ({ demo = false, json = false }: JsonOption & { readonly demo?: boolean }) => {
      const stop = terminal.interruption();
      const demoFolder = demo ? await mkdtemp(join(tmpdir(), "latchkey-demo-")) : undefined;
      try {
        const given = json ? { ...terminal.env, LOG_FORMAT: "json" } : terminal.env;
        const env = demoFolder === undefined ? given : demoEnv(given, demoFolder);
        const warnings = [...likelyTypos(env), ...nodeWarnings(terminal.nodeVersion)];
        for (const each of warnings) await warn(terminal, each, json);
        await serve(env, stop, terminal, demo ? { demoUser } : {}, async (app, store) => {
          if (demo) await writeLine(terminal.stdout, await prepareDemo(app, store, json));
        });
      } finally {
        if (demoFolder !== undefined) await rm(demoFolder, { recursive: true, force: true });
      }
    });
}

/** Serves until `stop` aborts and the open requests are finished. */
async function serve(
  env: Environment,
  stop: AbortSignal,
  terminal: Terminal,
  demo: Pick<AppDeps, "demoUser">,
  onStarted: (app: App, store: Store) => Promise<void>,
): Promise<void> {
  const [{ readConfiguration }, { openLogs }, { isWorker, runPrimary, WorkersFailed }] =
    await Promise.all([
      import("../app/key-material.js"),
      import("../observability/log.js"),
      import("../app/workers.js"),
    ]);
  const { config, keyMaterial } = await readConfiguration(env, auditLogFaults);
  const { stdout } = terminal;
  const logs = await openLogs({
    level: config.LOG_LEVEL,
    format: config.LOG_FORMAT ?? (stdout.isTTY ? "pretty" : "json"),
    audit: config.AUDIT_LOG,
    stdout,
  });
  const isPrimary = !isWorker && workerCount(config) > 1;
  const tracing = readTracingConfig(env);
  if (!isWorker) tracing.faults.forEach((fault) => logs.logger.warn({ event: "setup" }, fault));
  try {
    if (isPrimary) {
      const onHangup = (listener: () => void) => terminal.onHangup(listener);
      await runPrimary(config, logs.logger, stop, onHangup).catch((error: unknown) => {
        if (!(error instanceof WorkersFailed)) throw error;
        throw new CliError("workers_failed", error.message, error.exitCode);
      });
    } else {
      terminal.onHangup(() => undefined);
      const quietHashConcurrency = hashConcurrency(env, config).quiet;
      const deps = { config, keyMaterial, logs, quietHashConcurrency, ...demo };
      await serveAlone(deps, tracing, stop, onStarted);
    }
  } finally {
    await logs.close();
  }
}

async function auditLogFaults({ AUDIT_LOG = "off" }: Partial<Config>): Promise<string[]> {
  if (AUDIT_LOG === "off" || AUDIT_LOG === "stdout") return [];
  try {
    // Opened like the log opens it, without blocking: a pipe may not have a reader yet.
    const { O_APPEND, O_CREAT, O_NONBLOCK, O_WRONLY } = constants;
    const flags = O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK;
    await (await open(AUDIT_LOG, flags, 0o640)).close();
    return [];
  } catch (error) {
    return [`AUDIT_LOG cannot be opened: ${(error as Error).message}`];
  }
}

/** One process: the only one, or a worker. */
async function serveAlone(
  deps: Omit<AppDeps, "store" | "tracing">,
  tracingConfig: TracingConfig,
  interruption: AbortSignal,
  onStarted: (app: App, store: Store) => Promise<void>,
): Promise<void> {
  const [{ createApp }, { openStore }, { isWorker, leavePrimary, primaryStop, reportToPrimary }] =
    await Promise.all([
      import("../app/app.js"),
      import("../store/open-store.js"),
      import("../app/workers.js"),
    ]);
  const stop = AbortSignal.any([interruption, primaryStop()]);
  const store = await openStore(deps.config);
  try {
    const tracing = await openTracing(tracingConfig, deps.config, deps.logs);
    const app = createApp({ ...deps, store, tracing, hasManagementPort: !isWorker });
    try {
      await app.start().catch(explainStartFailure);
      reportToPrimary(app);
      await onStarted(app, store);
      if (!stop.aborted) {
        await new Promise((resolve) => stop.addEventListener("abort", resolve, { once: true }));
      }
    } finally {
      await app.close();
    }
  } finally {
    await store.close();
    leavePrimary();
  }
}

/** Loads the tracing SDK only if tracing is on: it is slow to load. */
async function openTracing({ isOn, followsCallers }: TracingConfig, config: Config, logs: Logs) {
  if (!isOn) return undefined;
  const { startTracing } = await import("../observability/tracing.js");
  const storeSystem = config.MONGODB_URI === undefined ? "lmdb" : "mongodb";
  return startTracing({ version, storeSystem, followsCallers, logger: logs.logger });
}

/** Reports a failure that only the operator can mend in one sentence, without a stack. */
function explainStartFailure(error: unknown): never {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "EADDRINUSE" || code === "EACCES" || code === "EADDRNOTAVAIL") {
    throw new CliError("cannot_listen", `cannot listen: ${message}`);
  }
  throw error;
}

const demoUser = { id: "1", username: "TestUser", password: "password" } as const;

/** The demo's environment: listens on this machine only and keeps nothing. Takes `PORT` and the log settings. */
function demoEnv({ PORT, LOG_LEVEL, LOG_FORMAT }: Environment, dataDir: string): Environment {
  return {
    PORT,
    MANAGEMENT_PORT: "0",
    DATA_DIR: dataDir,
    KEY_ENCRYPTION_KEY: randomBytes(32).toString("hex"),
    LOG_LEVEL: LOG_LEVEL ?? "warn",
    LOG_FORMAT,
    AUDIT_LOG: "off",
    API_PAGE: "on",
  };
}

/** Adds the user of the demo and returns calls to paste, one for each surface. */
async function prepareDemo(app: App, store: Store, json: boolean): Promise<string> {
  const { hashPassword } = await import("../auth/passwords/passwords.js");
  const { id, username, password } = demoUser;
  await store.users.add({
    id: { type: "int", value: id },
    username,
    passwordHash: await hashPassword(password),
    disabled: false,
    roles: [],
    tokensValidAfter: undefined,
  });
  const pair = JSON.stringify({ username, password });
  const { url, managementUrl } = app;
  if (json) return toJson({ url, managementUrl, username, password });
  return `Open ${url} to try every call and verify its token, ${managementUrl} to see the state of the server.

Latchkey listens on ${url} with the user ${username} and the password ${password}.
When it stops (Ctrl-C), everything is deleted. Or try, in another terminal:

# REST, as at the first old server: with a password, then with the token
curl -i -X POST -u ${username}:${password} ${url}/api/auth/token
TOKEN=$(curl -s -X POST -u ${username}:${password} ${url}/api/auth/token | sed 's/.*"token":"\\([^"]*\\).*/\\1/')
curl -i -X POST -H "Authorization: Bearer $TOKEN" ${url}/api/auth/token

# REST, as at the second old server
curl -i ${url}/api/v1/authentication/login -H 'Content-Type: application/json' -d '${pair}'

# Connect, in JSON
curl -i ${url}/auth.v1.AuthService/Login -H 'Content-Type: application/json' -d '${pair}'

# gRPC, with the schema by reflection
npx @bufbuild/buf curl --protocol grpc --http2-prior-knowledge -d '${pair}' ${url}/auth.v1.AuthService/Login

# The keys to verify tokens with
curl -i ${url}/.well-known/jwks.json
`;
}
