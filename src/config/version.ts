/**
 * The version of this package, from its manifest. Depends on node and on the package.json of
 * @latchkey-auth/latchkey.
 */
import { createRequire } from "node:module";

const manifest = createRequire(import.meta.url)("@latchkey-auth/latchkey/package.json") as {
  version: string;
};

export const { version } = manifest;
