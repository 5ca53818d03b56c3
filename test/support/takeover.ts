/** Latchkey in front of an old server, for tests. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decodeJwt } from "jose";
import type { Environment } from "../../src/config/config.js";
import { startOldServer, type OldServer, type OldUser } from "./old-server.js";

export const tokenPath = "/api/auth/token";
export const loginPath = "/api/v1/authentication/login";

export interface OldPlace {
  readonly old: OldServer;
  /** Settings of Latchkey for this old server. */
  readonly env: Environment;
  remove(): Promise<void>;
}

/** Latchkey's tokens have more claims than the old server's. */
export function isIssuedByUs(body: string): boolean {
  const token = /eyJ[\w-]+\.[\w-]+\.[\w-]+/.exec(body)?.[0];
  return token !== undefined && decodeJwt(token).jti !== undefined;
}

export async function startOldPlace(
  users: readonly OldUser[],
  options: Omit<NonNullable<Parameters<typeof startOldServer>[0]>, "users"> = {},
): Promise<OldPlace> {
  const old = await startOldServer({ ...options, users });
  const folder = mkdtempSync(join(tmpdir(), "latchkey-old-"));
  const keyFile = join(folder, "old.pem");
  writeFileSync(keyFile, old.publicKeyPem);
  const caFile = join(folder, "ca.pem");
  if (old.ca !== undefined) writeFileSync(caFile, old.ca);
  return {
    old,
    env: {
      ...{ UPSTREAM_URL: old.url, TRUSTED_KEYS_FILE: keyFile, UPSTREAM_PATHS: "token,login" },
      ...(old.ca !== undefined && { UPSTREAM_CA_FILE: caFile }),
    },
    async remove() {
      await old.stop();
      rmSync(folder, { recursive: true });
    },
  };
}
