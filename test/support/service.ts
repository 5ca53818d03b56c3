/** The real service on free ports, with its own store. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createApp, type App, type AppDeps } from "../../src/app/app.js";
import { parseConfig, type Environment } from "../../src/config/config.js";
import { readKeyMaterial } from "../../src/app/key-material.js";
import {
  createAccessLog,
  createAudit,
  createLogger,
  type Logs,
} from "../../src/observability/log.js";
import { openStore } from "../../src/store/open-store.js";
import type { Store } from "../../src/store/store.js";
import type { User } from "../../src/auth/users.js";

export interface RunningService extends Pick<App, "url" | "managementUrl" | "close"> {
  readonly store: Store;
}

/** The row in the old server's users table: argon2id, m=16384, t=2, p=1, of `password`. */
export const testUser: User = {
  id: { type: "int", value: "1" },
  username: "TestUser",
  passwordHash:
    "$argon2id$v=19$m=16384,t=2,p=1$P/wxjcj0dSBr3LFgjFEpdw$YItu6Y3q6Myva0A1PVhq3zfvZcWsTUPTjuP7hyWZm1Q",
  disabled: false,
  roles: [],
  tokensValidAfter: undefined,
};

const silentLogs: Logs = {
  logger: createLogger("silent", { write: () => undefined }),
  access: () => undefined,
  audit: () => undefined,
  dropped: () => ({ log: 0, audit: 0 }),
};

/** Logs that keep every line from trace on, including the audit events. */
export function keptLogs(lines: string[]): Logs {
  const write = (line: string) => void lines.push(line);
  return {
    logger: createLogger("trace", { write }),
    access: createAccessLog(write),
    audit: createAudit(write),
    dropped: silentLogs.dropped,
  };
}

export async function startService(
  env: Environment = {},
  users: readonly User[] = [testUser],
  deps: Partial<AppDeps> = {},
): Promise<RunningService> {
  const dataDir = await mkdtemp(join(tmpdir(), "latchkey-"));
  const config = parseConfig({
    PORT: "0",
    MANAGEMENT_PORT: "0",
    // Tests with many refusals must not reach the throttle's limits.
    THROTTLE_FAILURES: "1000",
    THROTTLE_USER_FAILURES: "1000",
    THROTTLE_NETWORK_FAILURES: "1000",
    DATA_DIR: dataDir,
    ...env,
  });
  const store = await openStore(config);
  for (const user of users) await store.users.add(user);
  const keyMaterial = await readKeyMaterial(config);
  const app = createApp({ config, store, keyMaterial, logs: silentLogs, ...deps });
  await app.start();
  return {
    url: app.url,
    managementUrl: app.managementUrl,
    store,
    async close() {
      await app.close();
      await store.close();
      await rm(dataDir, { recursive: true });
    },
  };
}
