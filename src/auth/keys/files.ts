/**
 * Key files as operators have them: PEM, DER and JWKS, from whatever tool. Depends on rsa and
 * node:crypto; reads no file itself. No message ever holds any of the file's text.
 */
import {
  createPrivateKey,
  createPublicKey,
  KeyObject,
  sign,
  verify,
  X509Certificate,
} from "node:crypto";
import { rsaKeyFaults, toRsaKey, toRsaPrivateKey, type RsaKey, type RsaPrivateKey } from "./rsa.js";

/** A public key of an old server. `kid` is the file's own where it names one. */
export interface TrustedRsaKey extends RsaKey {
  /** The only `iss` whose tokens it may have signed: the member `iss` of its JWK. */
  readonly issuer?: string;
}

/** What is wrong with a key file; the caller knows its name. For the operator: exit code 78. */
export class KeyFileError extends Error {
  override readonly name = "KeyFileError";
  constructor(readonly faults: readonly string[]) {
    super(faults.join("; "));
  }
}

/**
 * A private RSA key in PKCS#8 or PKCS#1, PEM or DER. Where a PEM file also has certificates, one of
 * them must be the key's.
 *
 * @throws KeyFileError
 */
export async function loadSigningKey(bytes: Uint8Array): Promise<RsaPrivateKey> {
  const blocks = pemBlocks(bytes);
  const key = blocks.length === 0 ? privateKeyOfDer(bytes) : privateKeyOfPem(blocks);
  const faults = rsaKeyFaults(key).map((fault) => `the key ${fault}`);
  if (faults.length > 0) throw new KeyFileError(faults);
  const rsaKey = await toRsaPrivateKey(key);
  if (!signsFor(rsaKey))
    fail("the key is damaged: its private and public parts do not fit together");
  const certificates = blocks.filter(isCertificate).map(certificateOf);
  if (certificates.length > 0 && !certificates.some((own) => own.checkPrivateKey(key))) {
    fail("the certificate belongs to another key");
  }
  return rsaKey;
}

/**
 * Public RSA keys: PEM with any number of SPKI or PKCS#1 keys and certificates, one of these as DER,
 * or a JWK or JWKS, whose keys for other algorithms and uses are passed over.
 *
 * @throws KeyFileError with the faults of all keys
 */
export async function loadTrustedKeys(bytes: Uint8Array): Promise<TrustedRsaKey[]> {
  const blocks = pemBlocks(bytes);
  const found =
    blocks.length > 0
      ? blocks.map((block) => ({ key: publicKeyOfPem(block) }))
      : (jsonWebKeys(bytes) ?? [{ key: publicKeyOfDer(bytes) }]);
  const faults = found.flatMap(({ key }, index) =>
    rsaKeyFaults(key).map((fault) => `key ${index + 1} ${fault}`),
  );
  if (faults.length > 0) throw new KeyFileError(faults);
  return Promise.all(
    found.map(async ({ key, ...names }) => ({ ...(await toRsaKey(key)), ...names })),
  );
}

/** A file of either kind, by whether a private key is in it. @throws KeyFileError */
export async function loadAnyKeys(
  bytes: Uint8Array,
): Promise<{ signing: RsaPrivateKey } | { trusted: TrustedRsaKey[] }> {
  const blocks = pemBlocks(bytes);
  const isPrivate = blocks.length > 0 ? blocks.some(isPrivatePem) : parsePrivateDer(bytes);
  return isPrivate
    ? { signing: await loadSigningKey(bytes) }
    : { trusted: await loadTrustedKeys(bytes) };
}

/** What to warn about where the file of a private key has these permissions. */
export function keyFileWarning(stat: { readonly mode: number }): string | undefined {
  const others = stat.mode & 0o007;
  return others === 0
    ? undefined
    : `can be read or written by every user of this machine (mode ${(stat.mode & 0o777).toString(8)}); chmod o= takes that away`;
}

interface PemBlock {
  readonly label: string;
  readonly text: string;
}

function fail(fault: string): never {
  throw new KeyFileError([fault]);
}

function pemBlocks(bytes: Uint8Array): PemBlock[] {
  const text = Buffer.from(bytes).toString("latin1");
  return [...text.matchAll(/-----BEGIN ([A-Z0-9 ]+)-----[^]*?-----END \1-----/g)].map((match) => ({
    label: match[1] ?? "",
    text: match[0],
  }));
}

const isCertificate = ({ label }: PemBlock) => /^(X509 |TRUSTED )?CERTIFICATE$/.test(label);
const isPrivatePem = ({ label }: PemBlock) => label.endsWith("PRIVATE KEY");

/** What `parse` gives, or undefined where the bytes are not of its form. */
function attempt<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch {
    return undefined;
  }
}

function certificateOf({ text }: PemBlock): X509Certificate {
  return attempt(() => new X509Certificate(text)) ?? fail("the certificate cannot be parsed");
}

const encrypted =
  "the key is protected by a passphrase, which is not supported; store it without one";

function privateKeyOfPem(blocks: readonly PemBlock[]): KeyObject {
  const [block, second] = blocks.filter(isPrivatePem);
  if (!block) fail("a private key is needed, and there are only public ones");
  if (second) fail("there is more than one private key");
  if (block.label.startsWith("ENCRYPTED") || /^Proc-Type:.*ENCRYPTED/m.test(block.text)) {
    fail(encrypted);
  }
  return attempt(() => createPrivateKey(block.text)) ?? fail(`the ${block.label} cannot be parsed`);
}

function parsePrivateDer(bytes: Uint8Array): KeyObject | "encrypted" | undefined {
  const key = Buffer.from(bytes);
  for (const type of ["pkcs8", "pkcs1"] as const) {
    try {
      return createPrivateKey({ key, format: "der", type });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ERR_MISSING_PASSPHRASE") return "encrypted";
    }
  }
  return undefined;
}

function privateKeyOfDer(bytes: Uint8Array): KeyObject {
  const key = parsePrivateDer(bytes);
  if (key === "encrypted") fail(encrypted);
  if (key) return key;
  if (parsePublicDer(bytes)) fail("a private key is needed, and this is a public one");
  fail("this is no private key in PKCS#8 or PKCS#1, PEM or DER");
}

function parsePublicDer(bytes: Uint8Array): KeyObject | undefined {
  const key = Buffer.from(bytes);
  return (
    attempt(() => createPublicKey({ key, format: "der", type: "spki" })) ??
    attempt(() => createPublicKey({ key, format: "der", type: "pkcs1" })) ??
    attempt(() => new X509Certificate(key).publicKey)
  );
}

const needsPublic = "a trusted key must be public, and there is a private one";

function publicKeyOfDer(bytes: Uint8Array): KeyObject {
  if (parsePrivateDer(bytes)) fail(needsPublic);
  return parsePublicDer(bytes) ?? fail("this is no public key, certificate or JWKS");
}

function publicKeyOfPem(block: PemBlock): KeyObject {
  if (isPrivatePem(block)) fail(needsPublic);
  if (isCertificate(block)) return certificateOf(block).publicKey;
  return attempt(() => createPublicKey(block.text)) ?? fail(`a ${block.label} cannot be parsed`);
}

type Jwk = Readonly<Record<string, unknown>>;

/** The keys of a JWKS (RFC 7517) that can verify RS256; undefined where the file is not JSON. */
function jsonWebKeys(bytes: Uint8Array) {
  const json = attempt(() => JSON.parse(new TextDecoder().decode(bytes)) as unknown);
  if (typeof json !== "object" || json === null) return undefined;
  const keys: unknown = "keys" in json && Object.hasOwn(json, "keys") ? json.keys : [json];
  if (!Array.isArray(keys)) fail("the member keys of the JWKS is not an array");
  if (keys.some((jwk) => typeof jwk === "object" && jwk !== null && "d" in jwk)) fail(needsPublic);
  const usable = keys.filter(isRs256Jwk);
  if (usable.length === 0) fail("the JWKS has no RSA key that could verify RS256");
  return usable.map((jwk) => {
    const key =
      attempt(() => createPublicKey({ key: { ...jwk }, format: "jwk" })) ??
      fail("an RSA key of the JWKS cannot be parsed");
    const { kid, iss } = jwk;
    if (iss !== undefined && typeof iss !== "string")
      fail("the member iss of a JWK is not a string");
    return {
      key,
      ...(typeof kid === "string" && { kid }),
      ...(iss !== undefined && { issuer: iss }),
    };
  });
}

/** RFC 7517 section 5: keys of other types and for other ends are passed over. */
function isRs256Jwk(jwk: unknown): jwk is Jwk {
  if (typeof jwk !== "object" || jwk === null) return false;
  const { kty, use = "sig", alg = "RS256", key_ops: operations = ["verify"] } = jwk as Jwk;
  const verifies = Array.isArray(operations) && operations.includes("verify");
  return kty === "RSA" && use === "sig" && alg === "RS256" && verifies;
}

function signsFor({ privateKey, publicKey }: RsaPrivateKey): boolean {
  const probe = Buffer.from("probe");
  const signature = attempt(() => sign("sha256", probe, privateKey));
  return signature !== undefined && verify("sha256", probe, publicKey, signature);
}
