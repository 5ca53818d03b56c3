/**
 * Reads key files in all common formats: PEM, DER, JWK and JWKS. Depends on its neighbours and
 * node:crypto, since jose reads neither DER nor PKCS#1. Takes bytes, opens no file. No message
 * quotes any of the file's text.
 */
import {
  createPrivateKey,
  createPublicKey,
  sign,
  verify,
  X509Certificate,
  type KeyObject,
} from "node:crypto";
import { leafOf } from "./certificate-chain.js";
import { foreignFault } from "./foreign-formats.js";
import {
  isPrivateJwk,
  parseJwks,
  privateKeyOf,
  publicKeysOf,
  type NamedKey,
} from "./json-web-keys.js";
import { attempt, fail, KeyFileError } from "./key-file-error.js";
import { rsaKeyFaults, toRsaKey, toRsaPrivateKey, type RsaKey, type RsaPrivateKey } from "./rsa.js";

/** A public key of an old server. `kid` is the one in the file, if there is one. */
export interface TrustedRsaKey extends RsaKey {
  /** Tokens by this key must have this `iss`: the member `iss` of its JWK. */
  readonly issuer?: string;
}

/**
 * Reads a private RSA key: PKCS#8 or PKCS#1 in PEM or DER, or a JWK, whose `kid` it keeps. If a PEM
 * file also has certificates, one of them must belong to the key.
 *
 * @throws KeyFileError
 */
export async function loadSigningKey(bytes: Uint8Array): Promise<RsaPrivateKey> {
  const blocks = pemBlocks(bytes);
  const { key, kid } = await findPrivateKey(bytes, blocks);
  const faults = rsaKeyFaults(key).map((fault) => `the key ${fault}`);
  if (faults.length > 0) throw new KeyFileError(faults);
  const rsaKey = await toRsaPrivateKey(key);
  if (!signsFor(rsaKey))
    fail("the key is damaged: its private and public parts do not fit together");
  const certificates = blocks.filter(isCertificate).map(certificateOf);
  if (certificates.length > 0 && !certificates.some((own) => own.checkPrivateKey(key))) {
    fail("the certificate belongs to another key");
  }
  return { ...rsaKey, ...(kid !== undefined && { kid }) };
}

async function findPrivateKey(bytes: Uint8Array, blocks: readonly PemBlock[]): Promise<NamedKey> {
  const foreign = foreignFault(bytes, "private");
  if (foreign) fail(foreign);
  if (blocks.length > 0) return { key: privateKeyOfPem(blocks) };
  const jwks = parseJwks(bytes);
  return jwks ? privateKeyOf(jwks) : { key: privateKeyOfDer(bytes) };
}

/**
 * Reads public RSA keys. PEM: any number of SPKI or PKCS#1 keys, and one chain of certificates, of
 * which only the leaf's key is taken. DER: one key or certificate. JWK or JWKS: keys for other
 * algorithms and uses are skipped.
 *
 * @throws KeyFileError with the faults of all keys
 */
export async function loadTrustedKeys(bytes: Uint8Array): Promise<TrustedRsaKey[]> {
  const found = await findPublicKeys(bytes);
  const faults = found.flatMap(({ key }, index) =>
    rsaKeyFaults(key).map((fault) => `key ${index + 1} ${fault}`),
  );
  if (faults.length > 0) throw new KeyFileError(faults);
  return Promise.all(
    found.map(async ({ key, ...names }) => ({ ...(await toRsaKey(key)), ...names })),
  );
}

async function findPublicKeys(bytes: Uint8Array): Promise<NamedKey[]> {
  const foreign = foreignFault(bytes, "public");
  if (foreign) fail(foreign);
  const blocks = pemBlocks(bytes);
  if (blocks.length > 0) return publicKeysOfPem(blocks).map((key) => ({ key }));
  const jwks = parseJwks(bytes);
  if (!jwks) return [{ key: publicKeyOfDer(bytes) }];
  if (jwks.some(isPrivateJwk)) fail("a trusted key must be public, and there is a private JWK");
  return publicKeysOf(jwks);
}

/** Reads a file with a private key, or else with public ones. @throws KeyFileError */
export async function loadAnyKeys(
  bytes: Uint8Array,
): Promise<{ signing: RsaPrivateKey } | { trusted: TrustedRsaKey[] }> {
  return hasPrivateKey(bytes)
    ? { signing: await loadSigningKey(bytes) }
    : { trusted: await loadTrustedKeys(bytes) };
}

function hasPrivateKey(bytes: Uint8Array): boolean {
  // A key store may hold either kind; most are kept for a private key.
  if (foreignFault(bytes, "private")) return true;
  const blocks = pemBlocks(bytes);
  if (blocks.length > 0) return blocks.some(isPrivatePem);
  return parseJwks(bytes)?.some(isPrivateJwk) ?? parsePrivateDer(bytes) !== undefined;
}

/** What to warn about if the file of a private key has these permissions. */
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

function pemBlocks(bytes: Uint8Array): PemBlock[] {
  const text = Buffer.from(bytes).toString("latin1");
  return [...text.matchAll(/-----BEGIN ([A-Z0-9 ]+)-----[^]*?-----END \1-----/g)].map((match) => ({
    label: match[1] ?? "",
    text: match[0],
  }));
}

const isCertificate = ({ label }: PemBlock) => /^(X509 |TRUSTED )?CERTIFICATE$/.test(label);
const isPrivatePem = ({ label }: PemBlock) => label.endsWith("PRIVATE KEY");

function certificateOf({ text }: PemBlock): X509Certificate {
  return attempt(() => new X509Certificate(text)) ?? fail("the certificate cannot be parsed");
}

const encrypted =
  "the key is protected by a passphrase, which is not supported; store it without one: openssl pkey -in FILE -out key.pem";

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
  fail("this is no private key in PKCS#8 or PKCS#1, PEM or DER, and no JWK");
}

function parsePublicDer(bytes: Uint8Array): KeyObject | undefined {
  const key = Buffer.from(bytes);
  return (
    attempt(() => createPublicKey({ key, format: "der", type: "spki" })) ??
    attempt(() => createPublicKey({ key, format: "der", type: "pkcs1" })) ??
    attempt(() => new X509Certificate(key).publicKey)
  );
}

const needsPublic =
  "a trusted key must be public, and there is a private one; its public part: openssl pkey -in FILE -pubout -out public.pem";

function publicKeyOfDer(bytes: Uint8Array): KeyObject {
  if (parsePrivateDer(bytes)) fail(needsPublic);
  return parsePublicDer(bytes) ?? fail("this is no public key, certificate or JWKS");
}

/** Certificates form one chain, of which only the leaf gives a key. */
function publicKeysOfPem(blocks: readonly PemBlock[]): KeyObject[] {
  if (blocks.some(isPrivatePem)) fail(needsPublic);
  const certificates = blocks.filter(isCertificate).map(certificateOf);
  const others = blocks.filter((block) => !isCertificate(block));
  const keys = others.map(
    ({ label, text }) =>
      attempt(() => createPublicKey(text)) ?? fail(`a ${label} cannot be parsed`),
  );
  return certificates.length === 0 ? keys : [leafOf(certificates).publicKey, ...keys];
}

function signsFor({ privateKey, publicKey }: RsaPrivateKey): boolean {
  const probe = Buffer.from("probe");
  const signature = attempt(() => sign("sha256", probe, privateKey));
  return signature !== undefined && verify("sha256", probe, publicKey, signature);
}
