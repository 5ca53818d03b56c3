/** argon2 (RFC 9106) in the PHC string format. */
import { type HashFamily, HashRefusal, type ParsedHash, base64, bounded, match } from "./family.js";
import { computeInThread } from "./thread.js";

/** The cost of new hashes: OWASP's first choice for argon2id. `m` in KiB. */
export const ourCost = { m: 19_456, t: 2, p: 1 } as const;

/** 128 MiB. Django's default is 100 MiB, Ory Kratos's 128 MiB. */
const memoryKibMax = 131_072;
/** Memory times passes: 512 MiB, twice PHP's default. */
const workKibMax = 4 * memoryKibMax;
/** Lanes add no work. Ory Kratos uses twice the number of its machine's processors. */
const lanesMax = 64;

const form =
  /^(?:argon2|\{[^{}]*\})?(\$argon2(id|i|d)\$(?:v=(16|19)\$)?m=([1-9]\d*),t=([1-9]\d*),p=([1-9]\d*)\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,172}))$/;

/** Removes base64 padding, which the PHC string format has not and some encoders write. */
const withoutPadding = (encoded: string) => encoded.replace(/=+(?=\$|$)/g, "");

function parseArgon2(encoded: string): ParsedHash {
  const [, phc = "", type, version, memory, passes, lanes, salt = "", digest = ""] = match(
    form,
    withoutPadding(encoded),
  );
  const t = bounded("t", Number(passes), 1, workKibMax);
  const p = bounded("p", Number(lanes), 1, lanesMax);
  const m = bounded("m", Number(memory), 8 * p, memoryKibMax);
  if (m * t > workKibMax) throw new HashRefusal("over_ceiling", `m × t over ${workKibMax}`);
  for (const text of [salt, digest]) {
    if (base64(text).toString("base64").replace(/=+$/, "") !== text) {
      throw new HashRefusal("unusable", "malformed base64");
    }
  }
  return {
    cost: { m, t, p },
    strong: type === "id" && version === "19" && m >= ourCost.m && m * t >= ourCost.m * ourCost.t,
    secrets: [salt, digest],
    verify: (password) => computeInThread("verifyArgon2", phc, password),
  };
}

export const argon2Families = (["argon2id", "argon2i", "argon2d"] as const).map(
  (name): HashFamily => ({
    name,
    form: `$${name}$v=19$m=19456,t=2,p=1$…$…`,
    source:
      "Latchkey, PHC, libsodium, PHP, passlib; Django `argon2$…`; Spring, OpenLDAP and Dovecot `{argon2}…`, `{ARGON2ID}…`",
    ceiling: `m ${memoryKibMax}, m × t ${workKibMax}, p ${lanesMax}`,
    prefix: new RegExp(
      `^(?:argon2|\\{argon2(?:id|i|d|@SpringSecurity_v5_8)?\\})?\\$${name}\\$`,
      "i",
    ),
    parse: parseArgon2,
  }),
);

/** Computes a new hash with {@link ourCost}. */
export function hashArgon2id(password: Buffer): Promise<string> {
  const { m: memoryCost, t: timeCost, p: parallelism } = ourCost;
  return computeInThread("hashArgon2", password, { memoryCost, timeCost, parallelism });
}
