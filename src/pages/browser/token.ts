/** Decodes a token, verifies it by a key set, and explains it. Runs in a browser; depends on nothing. */

export interface DecodedToken {
  readonly header: Readonly<Record<string, unknown>>;
  readonly claims: Readonly<Record<string, unknown>>;
  readonly parts: readonly [header: string, claims: string, signature: string];
}

/** Undefined if the text is not a token in compact serialization. */
export function decodeToken(text: string): DecodedToken | undefined {
  const [header = "", claims = "", signature = "", ...rest] = text.trim().split(".");
  if (rest.length > 0 || signature === "") return undefined;
  try {
    return {
      header: decodePart(header),
      claims: decodePart(claims),
      parts: [header, claims, signature],
    };
  } catch {
    return undefined;
  }
}

function decodePart(part: string): Record<string, unknown> {
  const value: unknown = JSON.parse(
    new TextDecoder("utf-8", { fatal: true }).decode(bytesOf(part)),
  );
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new TypeError();
  return value as Record<string, unknown>;
}

function bytesOf(base64url: string): Uint8Array<ArrayBuffer> {
  const text = atob(base64url.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

export interface Verdict {
  readonly tone: "good" | "bad" | "warn";
  readonly title: string;
  readonly detail: string;
}

export type PublishedKey = JsonWebKey & { readonly kid?: string };

/** @param readKeys fetches the published key set */
export async function verifyToken(
  token: DecodedToken,
  readKeys: () => Promise<readonly PublishedKey[]>,
  nowMs: number,
): Promise<Verdict> {
  const { alg, kid } = token.header;
  if (alg !== "RS256") {
    return {
      tone: "bad",
      title: "Not to be trusted",
      detail: `Its alg is ${String(alg)}, not RS256.`,
    };
  }
  // Undefined outside of secure contexts, although the types say otherwise.
  if ((crypto as { subtle?: SubtleCrypto }).subtle === undefined) {
    const detail = "Browsers verify signatures over https and on localhost alone.";
    return { tone: "warn", title: "Decoded, not verified", detail };
  }
  const key = (await readKeys()).find((each) => each.kid === kid);
  if (key === undefined) {
    const detail = "No key of this server's key set has its kid.";
    return { tone: "bad", title: "Signed by somebody else", detail };
  }
  if (!(await isSigned(token, key))) {
    const detail = "The signature does not fit the token: it was changed, or never signed.";
    return { tone: "bad", title: "Forged", detail };
  }
  const signer = `The signature fits the key ${String(kid)} of this server.`;
  const { exp } = token.claims;
  if (typeof exp !== "number") return { tone: "bad", title: "Has no end", detail: signer };
  const leftMs = exp * 1000 - nowMs;
  const end = relativeTime(leftMs);
  return leftMs > 0
    ? { tone: "good", title: `Verified, expires ${end}`, detail: signer }
    : {
        tone: "warn",
        title: `Expired ${end}`,
        detail: `${signer} No service accepts it any more.`,
      };
}

async function isSigned({ parts }: DecodedToken, { kty, n, e }: PublishedKey): Promise<boolean> {
  const algorithm = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" };
  try {
    const jwk = { ...(kty && { kty }), ...(n && { n }), ...(e && { e }) };
    const key = await crypto.subtle.importKey("jwk", jwk, algorithm, false, ["verify"]);
    const input = new TextEncoder().encode(`${parts[0]}.${parts[1]}`);
    return await crypto.subtle.verify(algorithm, key, bytesOf(parts[2]), input);
  } catch {
    return false;
  }
}

/** "in 2 hours", "3 minutes ago". */
export function relativeTime(ms: number): string {
  const units = [
    ["day", 86_400_000],
    ["hour", 3_600_000],
    ["minute", 60_000],
    ["second", 1000],
  ] as const;
  const [unit, size] = units.find(([, size]) => Math.round(Math.abs(ms) / size) >= 2) ?? units[3];
  const format = new Intl.RelativeTimeFormat("en", { numeric: "always" });
  return format.format(Math.round(ms / size), unit);
}

const instant = (value: unknown, nowMs: number) =>
  typeof value === "number"
    ? `${new Date(value * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" })}, ${relativeTime(value * 1000 - nowMs)}`
    : "not a time";

const meanings: Readonly<Record<string, (value: unknown, nowMs: number) => string>> = {
  sub: () => "the user's _id",
  iss: () => "who issued it",
  aud: () => "for whom it is meant",
  exp: (value, nowMs) => `expires ${instant(value, nowMs)}`,
  iat: (value, nowMs) => `issued ${instant(value, nowMs)}`,
  auth_time: (value, nowMs) => `the password was checked ${instant(value, nowMs)}`,
  jti: () => "the token's own id",
  roles: () => "the user's roles",
  client_id: () => "the client, which is the issuer itself",
  alg: () => "how it is signed",
  typ: () => "what it is",
  kid: () => "which key of the key set verifies it",
};

/** The meaning of a header member or a claim; empty for unknown ones. */
export const meaningOf = (name: string, value: unknown, nowMs: number): string =>
  Object.hasOwn(meanings, name) ? (meanings[name]?.(value, nowMs) ?? "") : "";
