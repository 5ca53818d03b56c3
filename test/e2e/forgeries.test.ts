/**
 * Tokens that somebody made up, on every surface: one answer, the same bytes, and nothing looked up,
 * neither by a connection nor in a file.
 */
import { spawnSync } from "node:child_process";
import {
  constants as cryptoConstants,
  createHmac,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  sign,
  type KeyObject,
} from "node:crypto";
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { open } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { callGrpc, envelope } from "../support/grpc.js";
import { createHttpClient, type HttpClient } from "../support/http.js";
import { ringOf } from "../support/keys.js";
import { startService, type RunningService } from "../support/service.js";
import { parseConfig } from "../../src/config/config.js";
import { openStore } from "../../src/store/open-store.js";

const vectors = new URL("../support/key-vectors/", import.meta.url).pathname;
const thumbprints = JSON.parse(readFileSync(`${vectors}thumbprints.json`, "utf8")) as {
  pkcs8: string;
  python: string;
};
/** The managed key that signs, and one that is trusted; here we hold their private parts. */
const ours = createPrivateKey(readFileSync(`${vectors}pkcs8.pem`));
const kid = thumbprints.pkcs8;
const trusted = createPrivateKey(readFileSync(`${vectors}python.pem`));
const trustedKid = thumbprints.python;
const publicKey = createPublicKey(ours);
const stranger = generateKeyPairSync("rsa", { modulusLength: 2048 });
const curve = generateKeyPairSync("ec", { namedCurve: "P-256" });

const issuer = "NomicGameManager.Api";
const now = Math.floor(Date.now() / 1000);
const claims = {
  ...{ sub: "1", iss: issuer, exp: now + 3600, iat: now - 5 },
  ...{ jti: "a", auth_time: now - 5 },
};
const header = { typ: "JWT", alg: "RS256", kid };

const encode = (part: object | string | Buffer) =>
  Buffer.from(
    typeof part === "string" || Buffer.isBuffer(part) ? part : JSON.stringify(part),
  ).toString("base64url");
const inputOf = (head: object | string, payload: object | string) =>
  `${encode(head)}.${encode(payload)}`;

/** A token with that header, rightly signed by RS256. */
function signed(head: object | string, payload: object | string = claims, key = ours): string {
  const input = inputOf(head, payload);
  return `${input}.${encode(sign("sha256", Buffer.from(input), key))}`;
}
function signedBytes(payload: Buffer): string {
  const input = `${encode(header)}.${encode(payload)}`;
  return `${input}.${encode(sign("sha256", Buffer.from(input), ours))}`;
}
const withHeader = (changes: object, key = ours) => signed({ ...header, ...changes }, claims, key);
const withClaims = (changes: object) => signed(header, { ...claims, ...changes });

function withMac(alg: "HS256" | "HS384" | "HS512", secret: string | Buffer): string {
  const input = inputOf({ ...header, alg }, claims);
  return `${input}.${encode(createHmac(alg.replace("HS", "sha"), secret).update(input).digest())}`;
}

function signedAs(alg: string, hash: string, key: KeyObject, options = {}): string {
  const input = inputOf({ ...header, alg }, claims);
  return `${input}.${encode(sign(hash, Buffer.from(input), { key, ...options }))}`;
}

const good = signed(header);
const [goodHead = "", goodClaims = "", goodSignature = ""] = good.split(".");
const other = withClaims({ sub: "2" });

const folder = mkdtempSync(join(tmpdir(), "latchkey-canary-"));
/** Whoever opens it waits for a writer, and can be seen waiting. */
const canaryFile = join(folder, "key.pem");
let connections = 0;
const canary = createServer((socket) => (connections++, socket.destroy()));
const canaryUrl = () => `http://127.0.0.1:${(canary.address() as AddressInfo).port}/keys`;
const isOpened = () => {
  try {
    closeSync(openSync(canaryFile, constants.O_WRONLY | constants.O_NONBLOCK));
    return true;
  } catch (error) {
    expect(error).toHaveProperty("code", "ENXIO");
    return false;
  }
};

let service: RunningService;
let client: HttpClient;
beforeAll(async () => {
  spawnSync("mkfifo", [canaryFile]);
  await new Promise<void>((listening) => canary.listen(0, "127.0.0.1", listening));
  const env = { DATA_DIR: join(folder, "data"), TRUSTED_KEYS_FILE: trustedFile() };
  const store = await openStore(parseConfig(env));
  await store.keys.save(ringOf(kid, ours), 0);
  await store.close();
  service = await startService(env);
  client = createHttpClient(service.url);
});
afterAll(async () => {
  client.close();
  await service.close();
  canary.close();
  rmSync(folder, { recursive: true });
});

function trustedFile(): string {
  const path = join(folder, "trusted.pem");
  writeFileSync(path, createPublicKey(trusted).export({ type: "spki", format: "pem" }));
  return path;
}

type Forgery = readonly [string, () => string];

const spki = { type: "spki", format: "pem" } as const;
const secrets: readonly (readonly [string, () => string | Buffer])[] = [
  ["SPKI in PEM", () => publicKey.export(spki)],
  ["SPKI in PEM without the last line end", () => String(publicKey.export(spki)).trimEnd()],
  ["SPKI in DER", () => publicKey.export({ type: "spki", format: "der" })],
  ["PKCS#1 in PEM", () => publicKey.export({ type: "pkcs1", format: "pem" })],
  ["PKCS#1 in DER", () => publicKey.export({ type: "pkcs1", format: "der" })],
  ["JWK", () => JSON.stringify(publicKey.export({ format: "jwk" }))],
  ["JWK's n", () => publicKey.export({ format: "jwk" }).n ?? ""],
  ["kid", () => kid],
];

const algorithms: Forgery[] = [
  ...["none", "None", "NONE", "nOnE", "", "rs256", "RS256 ", "RSA", "RS256\0", "RSA-OAEP"].map(
    (alg): Forgery => [`alg ${JSON.stringify(alg)}`, () => withHeader({ alg })],
  ),
  ...["none", "None", "nOnE"].map((alg): Forgery => [
    `alg ${alg} without a signature`,
    () => `${inputOf({ ...header, alg }, claims)}.`,
  ]),
  ...[null, 0, true, ["RS256"], { alg: "RS256" }].map((alg): Forgery => [
    `alg ${JSON.stringify(alg)}`,
    () => withHeader({ alg }),
  ]),
  ["no alg", () => withHeader({ alg: undefined })],
  ...secrets.map(([name, secret]): Forgery => [
    `HS256 with the ${name}`,
    () => withMac("HS256", secret()),
  ]),
  ["HS384 with the public key", () => withMac("HS384", publicKey.export(spki))],
  ["HS512 with the public key", () => withMac("HS512", publicKey.export(spki))],
  ["HS256 with an empty secret", () => withMac("HS256", "")],
  ["ES256", () => signedAs("ES256", "sha256", curve.privateKey, { dsaEncoding: "ieee-p1363" })],
  [
    "ES256 with a signature of zeros",
    () => `${inputOf({ ...header, alg: "ES256" }, claims)}.${encode(Buffer.alloc(64))}`,
  ],
  [
    "PS256 by our key",
    () => signedAs("PS256", "sha256", ours, { padding: cryptoConstants.RSA_PKCS1_PSS_PADDING }),
  ],
  [
    "RS256 that is PS256",
    () => signedAs("RS256", "sha256", ours, { padding: cryptoConstants.RSA_PKCS1_PSS_PADDING }),
  ],
  ["RS384 by our key", () => signedAs("RS384", "sha384", ours)],
  ["RS512 by our key", () => signedAs("RS512", "sha512", ours)],
  ["RS256 that is RS1", () => signedAs("RS256", "sha1", ours)],
  ["RS256 that is RS512", () => signedAs("RS256", "sha512", ours)],
];

const strangersJwk = () => stranger.publicKey.export({ format: "jwk" });
const embedded = (changes: object) => withHeader(changes, stranger.privateKey);
const embeddedKeys: Forgery[] = [
  ["a jwk", () => embedded({ jwk: strangersJwk() })],
  ["a jwk with our kid", () => embedded({ jwk: { ...strangersJwk(), kid } })],
  ["a jwk and no kid", () => embedded({ kid: undefined, jwk: strangersJwk() })],
  ["a symmetric jwk", () => embedded({ jwk: { kty: "oct", k: "AA" } })],
  ...["jku", "x5u"].flatMap((member): Forgery[] => [
    [`a ${member} over HTTP`, () => embedded({ [member]: canaryUrl() })],
    [`a ${member} over HTTP and no kid`, () => embedded({ kid: undefined, [member]: canaryUrl() })],
    [`a ${member} of a file`, () => embedded({ [member]: `file://${canaryFile}` })],
    [`a ${member} that is a path`, () => embedded({ [member]: canaryFile })],
  ]),
  [
    "an x5c",
    () => embedded({ x5c: [readFileSync(`${vectors}certificate.der`).toString("base64")] }),
  ],
  ["an x5c that is a path", () => embedded({ x5c: [canaryFile] })],
  ["an x5t", () => embedded({ kid: undefined, x5t: "AAAA", "x5t#S256": "AAAA" })],
  ["a kid that is a URL", () => embedded({ kid: canaryUrl() })],
];

const kids: Forgery[] = [
  ...[
    "",
    canaryFile,
    `../../../../../../..${canaryFile}`,
    "/dev/null",
    "' OR '1'='1",
    "x' UNION SELECT 'AA' --",
    "a".repeat(4000),
    `${kid}\0`,
    ` ${kid}`,
    kid.toLowerCase(),
    kid.slice(0, -1),
    trustedKid,
    "__proto__",
    "constructor",
    "$(sleep 9)",
    "\u{1f511}",
  ].map((name): Forgery => [
    `kid ${JSON.stringify(name).slice(0, 40)}`,
    () => withHeader({ kid: name }),
  ]),
  ...[null, 0, true, [kid], { kid }, { $ne: "" }].map((name): Forgery => [
    `kid ${JSON.stringify(name)}`,
    () => withHeader({ kid: name }),
  ]),
  ["no kid, by the key that signs", () => withHeader({ kid: undefined })],
  ["no kid, by a stranger", () => embedded({ kid: undefined })],
  ["our kid, by a stranger", () => embedded({})],
  ["our kid, by the trusted key", () => withHeader({}, trusted)],
  ["the trusted kid, by a stranger", () => embedded({ kid: trustedKid })],
];

const headers: Forgery[] = [
  ...[[], ["b64"], ["exp"], ["alg"], ["x"], null, "exp", {}, 0].map((crit): Forgery => [
    `crit ${JSON.stringify(crit)}`,
    () => withHeader({ crit, b64: true, x: 1 }),
  ]),
  ["an unencoded payload", () => withHeader({ crit: ["b64"], b64: false })],
  ["typ id+jwt", () => withHeader({ typ: "id+jwt" })],
  ["typ JWE", () => withHeader({ typ: "JWE" })],
  ["typ that is no string", () => withHeader({ typ: ["JWT"] })],
  ["a header that is an array", () => signed(JSON.stringify([header]))],
  ["a header that is a string", () => signed('"RS256"')],
  ["a header that is null", () => signed("null")],
  ["a header that is not JSON", () => signed("alg=RS256")],
  ["a header with a byte order mark", () => signed(`\ufeff${JSON.stringify(header)}`)],
  ["alg twice", () => signed(`{"alg":"none",${JSON.stringify(header).slice(1)}`)],
  [
    "alg twice, once escaped",
    () => signed(`{"\\u0061lg":"none",${JSON.stringify(header).slice(1)}`),
  ],
  ["kid twice", () => signed(`{"kid":"a",${JSON.stringify(header).slice(1)}`)],
  ["a nested token", () => signed({ ...header, cty: "JWT" }, good)],
  [
    "an encrypted token",
    () => `${encode({ alg: "RSA-OAEP", enc: "A256GCM", kid })}.AAAA.AAAA.AAAA.AAAA`,
  ],
];

const flattened = () =>
  JSON.stringify({ protected: goodHead, payload: goodClaims, signature: goodSignature });
const forms: Forgery[] = [
  ["nothing", () => ""],
  ["dots", () => ".."],
  ["one part", () => goodHead],
  ["two parts", () => `${goodHead}.${goodClaims}`],
  ["no signature", () => `${goodHead}.${goodClaims}.`],
  ["no claims", () => `${goodHead}..${goodSignature}`],
  ["no header", () => `.${goodClaims}.${goodSignature}`],
  ["a dot before", () => `.${good}`],
  ["a dot behind", () => `${good}.`],
  ["a dot more", () => `${goodHead}..${goodClaims}.${goodSignature}`],
  ["four parts", () => `${good}.AAAA`],
  ["two tokens", () => `${good},${other}`],
  ["two tokens and a space", () => `${good} ${other}`],
  ["flattened JSON serialization", flattened],
  [
    "general JSON serialization",
    () =>
      JSON.stringify({
        payload: goodClaims,
        signatures: [{ protected: goodHead, signature: goodSignature }],
      }),
  ],
  ["JSON serialization in base64url", () => encode(flattened())],
  ["quotes", () => `"${good}"`],
  ["a tab within", () => good.replace(".", ".\t")],
  ["a space within", () => good.replace(".", " .")],
  ["padding of a part", () => [goodHead, `${goodClaims}=`, goodSignature].join(".")],
  ["padding", () => `${good}==`],
  [
    "the alphabet of base64",
    () => {
      // Signatures differ, so one with such a character is found by trying.
      for (let n = 0; ; n++) {
        const token = withClaims({ jti: String(n) });
        const [head, payload, signature = ""] = token.split(".");
        const base64 = signature.replaceAll("-", "+").replaceAll("_", "/");
        if (base64 !== signature) return [head, payload, base64].join(".");
      }
    },
  ],
  [
    "bits left over",
    () => {
      const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
      return good.slice(0, -1) + (alphabet[alphabet.indexOf(good.at(-1) ?? "") + 1] ?? "");
    },
  ],
  ["a percent escape", () => good.replace(".", "%2e")],
  [
    "letters that only look alike",
    () => Buffer.from(good.replace("e", "\u0435")).toString("latin1"),
  ],
  ["a signature cut off", () => good.slice(0, -8)],
  [
    "a signature with a byte more",
    () =>
      `${goodHead}.${goodClaims}.${encode(Buffer.concat([Buffer.from(goodSignature, "base64url"), Buffer.alloc(1)]))}`,
  ],
  [
    "a signature with a zero before it",
    () =>
      `${goodHead}.${goodClaims}.${encode(Buffer.concat([Buffer.alloc(1), Buffer.from(goodSignature, "base64url")]))}`,
  ],
  ["a signature of zeros", () => `${goodHead}.${goodClaims}.${encode(Buffer.alloc(256))}`],
  ["a signature of ones", () => `${goodHead}.${goodClaims}.${encode(Buffer.alloc(256, 0xff))}`],
  [
    "a signature that is one",
    () =>
      `${goodHead}.${goodClaims}.${encode(Buffer.concat([Buffer.alloc(255), Buffer.from([1])]))}`,
  ],
  ["another token's signature", () => `${goodHead}.${goodClaims}.${other.split(".")[2] ?? ""}`],
  ["another token's claims", () => [goodHead, other.split(".")[1], goodSignature].join(".")],
  [
    "one bit of the signature",
    () => {
      const bytes = Buffer.from(goodSignature, "base64url");
      bytes[100] = (bytes[100] ?? 0) ^ 1;
      return `${goodHead}.${goodClaims}.${encode(bytes)}`;
    },
  ],
  [
    "the signature of the claims alone",
    () => `${goodHead}.${goodClaims}.${encode(sign("sha256", Buffer.from(goodClaims), ours))}`,
  ],
  ["more than 8 KiB", () => withClaims({ pad: "a".repeat(7000) })],
  ["12 KiB of dots", () => ".".repeat(12_288)],
  ["12 KiB of one part", () => "A".repeat(12_288)],
];

const claimSets: Forgery[] = [
  ...Object.keys(claims).map((name): Forgery => [
    `no ${name}`,
    () => withClaims({ [name]: undefined }),
  ]),
  ...["exp", "iat", "nbf", "auth_time"].flatMap((name): Forgery[] => [
    [`${name} that is a string`, () => withClaims({ [name]: String(now) })],
    [`${name} that is null`, () => withClaims({ [name]: null })],
  ]),
  [
    "exp beyond all numbers",
    () => signed(header, JSON.stringify(claims).replace(/"exp":\d+/, '"exp":1e999')),
  ],
  ["exp in the past", () => withClaims({ exp: now - 60 })],
  ["exp that is negative", () => withClaims({ exp: -1 })],
  ["a session that is too old", () => withClaims({ auth_time: now - 31 * 86_400 })],
  ...["iat", "nbf", "auth_time"].map((name): Forgery => [
    `${name} in the future`,
    () => withClaims({ [name]: now + 3600 }),
  ]),
  ["another issuer", () => withClaims({ iss: "https://evil.example" })],
  ["a list of issuers", () => withClaims({ iss: [issuer] })],
  ["an audience where there is none", () => withClaims({ aud: "api" })],
  ["a subject that is a number", () => withClaims({ sub: 1 })],
  ["a subject that is empty", () => withClaims({ sub: "" })],
  ["a subject that is a query", () => withClaims({ sub: { $gt: "" } })],
  ["a subject that nobody is", () => withClaims({ sub: "999" })],
  ["a subject beside the number", () => withClaims({ sub: "01" })],
  ["sub twice", () => signed(header, `{"sub":"2",${JSON.stringify(claims).slice(1)}`)],
  ["claims that are an array", () => signed(header, JSON.stringify([claims]))],
  ["claims that are null", () => signed(header, "null")],
  ["claims that are not JSON", () => signed(header, "sub=1")],
  ["claims with a byte order mark", () => signed(header, `\ufeff${JSON.stringify(claims)}`)],
  ["claims that are not UTF-8", () => signedBytes(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d]))],
];

const forgeries = [...algorithms, ...embeddedKeys, ...kids, ...headers, ...forms, ...claimSets];

/** Every byte of an answer but those that differ between any two. */
interface Surface {
  (authorization: string | undefined): Promise<unknown>;
}

const without = (headersOf: object) =>
  Object.entries(headersOf).filter(([name]) => !["date", "x-request-id"].includes(name));
const rpcPath = "/auth.v1.AuthService/IssueToken";
const http =
  (path: string, headersOf: object, body = "" as string | Buffer): Surface =>
  async (authorization) => {
    const reply = await client.call(path, {
      headers: { ...headersOf, ...(authorization !== undefined && { authorization }) },
      body,
    });
    return [reply.status, without(reply.headers), reply.body];
  };

const surfaces: readonly (readonly [string, Surface, unknown])[] = [
  ["POST /api/auth/token", http("/api/auth/token", {}), 403],
  ["Connect in JSON", http(rpcPath, { "content-type": "application/json" }, "{}"), 401],
  ["gRPC-Web", http(rpcPath, { "content-type": "application/grpc-web+proto" }, envelope("")), 200],
  [
    "gRPC",
    async (authorization) => {
      const extra = authorization === undefined ? {} : { authorization };
      const {
        headers: head,
        trailers,
        body,
      } = await callGrpc(service.url, rpcPath, envelope(""), extra);
      return [head[":status"], without(head), without(trailers), body.toString("hex")];
    },
    200,
  ],
];

test("there are more than 60, and each is another one", () => {
  const tokens = forgeries.map(([, make]) => make());
  expect(new Set(tokens).size).toBe(tokens.length);
  expect(tokens.length).toBeGreaterThan(60);
});

describe.each(surfaces)("%s", (_, call, status) => {
  test("accepts what the forgeries are made from", async () => {
    const refused = JSON.stringify(await call(undefined));
    for (const token of [good, signed({ alg: "RS256" }, claims, trusted)]) {
      expect(JSON.stringify(await call(`Bearer ${token}`))).not.toBe(refused);
    }
  });

  test(`answers ${forgeries.length} forgeries with the bytes of no authorization at all`, async () => {
    const refusal = await call(undefined);
    expect((refusal as unknown[])[0]).toBe(status);
    const differing: unknown[] = [];
    for (const [name, make] of forgeries) {
      const answer = await call(`Bearer ${make()}`).catch((error: unknown) => String(error));
      if (JSON.stringify(answer) !== JSON.stringify(refusal)) differing.push([name, answer]);
    }
    expect(differing).toEqual([]);
    expect([connections, isOpened()]).toEqual([0, false]);
  });
});

test("the canaries sing", async () => {
  await fetch(canaryUrl()).catch(() => undefined);
  expect(connections).toBe(1);
  const opening = open(canaryFile, "r");
  while (!isOpened()) await new Promise((resolve) => setTimeout(resolve, 10));
  await (await opening).close();
});
