/**
 * argon2 (RFC 9106) in the PHC string format. Depends on @node-rs/argon2.
 */
import { hash, verify } from "@node-rs/argon2";
import { type HashFamily, HashRefusal, type ParsedHash, atMost, match } from "./family.js";

/** OWASP's first choice for argon2id. `m` in KiB. */
export const ourCost = { m: 19_456, t: 2, p: 1 } as const;

/** 128 MiB: the defaults of Django (100 MiB) and Ory Kratos (128 MiB) pass. */
const memoryKibMax = 131_072;
/** Memory times passes, 512 MiB: twice PHP's default, about a second of one core. */
const workKibMax = 4 * memoryKibMax;
const lanesMax = 16;

const form =
  /^\$argon2(id|i|d)\$(?:v=(16|19)\$)?m=(\d{1,10}),t=(\d{1,10}),p=(\d{1,10})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{16,172})$/;

function parse(encoded: string): ParsedHash {
  const [, type, version, memory, passes, lanes, salt = "", digest = ""] = match(form, encoded);
  const t = atMost("t", Number(passes), workKibMax);
  const p = atMost("p", Number(lanes), lanesMax);
  const m = atMost("m", Number(memory), memoryKibMax, 8 * p);
  if (m * t > workKibMax) throw new HashRefusal("over_ceiling", `m × t over ${workKibMax}`);
  return {
    cost: { m, t, p },
    strong: type === "id" && version === "19" && m >= ourCost.m && m * t >= ourCost.m * ourCost.t,
    secrets: [salt, digest],
    verify: (password) => verify(encoded, password),
  };
}

export const argon2Families = (["argon2id", "argon2i", "argon2d"] as const).map(
  (name): HashFamily => ({
    name,
    form: `$${name}$v=19$m=19456,t=2,p=1$…$…`,
    source: "Latchkey, PHC, libsodium, PHP, passlib, Node's argon2",
    prefix: new RegExp(`^\\$${name}\\$`),
    parse,
  }),
);

/** A new hash with {@link ourCost}. */
export function hashArgon2id(password: Buffer): Promise<string> {
  return hash(password, { memoryCost: ourCost.m, timeCost: ourCost.t, parallelism: ourCost.p });
}
