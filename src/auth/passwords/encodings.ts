/**
 * Turns hashes that a framework keeps in several fields, or in a form that does not name itself, into one string
 * that a hash family recognises. Presets and importers call these. A hash that Latchkey wrote is returned as it is.
 */
const ours = /^\$argon2id\$/;

/** `services.password.bcrypt`, where Latchkey may have written its own hash. */
export function meteorHash(bcrypt: string): string {
  return ours.test(bcrypt) ? bcrypt : `{meteor}${bcrypt}`;
}

/** `services.password.argon2`, which only Meteor writes. */
export function meteorArgon2Hash(argon2: string): string {
  return `{meteor}${argon2}`;
}

/** `hash` and `salt` of passport-local-mongoose. */
export function passportLocalMongooseHash(hash: string, salt: string): string {
  return ours.test(hash) ? hash : `{passport-local-mongoose}${salt}$${hash}`;
}

/** `hash` and `salt` of Payload. */
export function payloadHash(hash: string, salt: string): string {
  return ours.test(hash) ? hash : `{payload}${salt}$${hash}`;
}

/** `password` of better-auth's accounts. A hash made by its option `password.hash` is returned as it is. */
export function betterAuthHash(password: string): string {
  return /^[0-9a-f]+:[0-9a-f]+$/.test(password) ? `{better-auth}${password}` : password;
}

/** The parameters that the Firebase console shows for a project; bytes are in base64. */
export interface FirebaseHashConfig {
  readonly rounds: number;
  readonly memCost: number;
  readonly saltSeparator: string;
  readonly signerKey: string;
}

/** `passwordHash` and `salt` of a Firebase export. */
export function firebaseHash(hash: string, salt: string, config: FirebaseHashConfig): string {
  const { memCost, rounds, saltSeparator, signerKey } = config;
  return `$firescrypt$ln=${memCost},r=${rounds},p=1$${[salt, hash, saltSeparator, signerKey].map(standardBase64).join("$")}`;
}

/**
 * `credentialData` and `secretData` of a credential in a Keycloak export, both JSON. Undefined if they do not have
 * that form. Whether the hash is usable is for `inspectHash` to say.
 */
export function keycloakHash(credentialData: string, secretData: string): string | undefined {
  try {
    const { algorithm, hashIterations, additionalParameters } = JSON.parse(
      credentialData,
    ) as KeycloakCredential;
    const { value, salt } = JSON.parse(secretData) as Record<"value" | "salt", string>;
    if (algorithm === "bcrypt") return value;
    if (algorithm !== "argon2") return `$${algorithm}$i=${hashIterations}$${salt}$${value}`;
    const { type, memory, parallelism, version } = additionalParameters;
    // Only these two versions exist; an old export without a version means the newer one.
    const v = version?.[0] === "1.0" ? 16 : 19;
    const bare = [salt, value].map((text) => text.replace(/=+$/, "")).join("$");
    return `$argon2${type[0]}$v=${v}$m=${memory[0]},t=${hashIterations},p=${parallelism[0]}$${bare}`;
  } catch {
    return undefined;
  }
}

interface KeycloakCredential {
  readonly algorithm: string;
  readonly hashIterations: number;
  readonly additionalParameters: Readonly<
    Record<"type" | "memory" | "parallelism", readonly [string]>
  > & { readonly version?: readonly [string] };
}

interface EncodedBytes {
  readonly value: string;
  readonly encoding?: "utf8" | "hex" | "base64";
}

/** `custom_password_hash` in the file of a bulk import to Auth0. */
export interface Auth0Hash {
  readonly algorithm: string;
  readonly hash: EncodedBytes & { readonly digest?: string; readonly key?: EncodedBytes };
  readonly salt?: EncodedBytes & { readonly position?: "prefix" | "suffix" };
  readonly password?: { readonly encoding?: string };
  readonly cost?: number;
  readonly blockSize?: number;
  readonly parallelization?: number;
}

/** Undefined if no family computes the algorithm. Other faults are for `inspectHash` to find. */
export function auth0Hash(custom: Auth0Hash): string | undefined {
  const { algorithm, hash, salt, password } = custom;
  if (!["utf8", "ascii"].includes(password?.encoding ?? "utf8")) return undefined;
  switch (algorithm) {
    case "argon2":
    case "bcrypt":
    case "ldap":
      return hash.value;
    case "pbkdf2":
      return auth0Pbkdf2(hash.value);
    case "scrypt": {
      const { cost = 16_384, blockSize = 8, parallelization = 1 } = custom;
      const parameters = `n=${cost},r=${blockSize},p=${parallelization}`;
      return `$scrypt$${parameters}$${inBase64(salt)}$${inBase64(hash)}`;
    }
    case "hmac":
      return `$hmac-${hash.digest}$${inBase64({ value: bytesOf(hash).toString("hex") })}$${inBase64(hash.key)}`;
    case "md5":
    case "sha1":
    case "sha256":
    case "sha512": {
      const template = salt?.position === "suffix" ? "{PASSWORD}{SALT}" : "{SALT}{PASSWORD}";
      return `$${algorithm}$pf=${inBase64({ value: template })}$${inBase64(salt)}$${inBase64(hash)}`;
    }
    default:
      return undefined;
  }
}

/** The PHC string format, in which `i=100000,keylen=64` may be missing. */
function auth0Pbkdf2(value: string): string {
  const [, id, parameters = "", rest] =
    /^\$(pbkdf2-[\w-]+)(?:\$((?:\w+=\d+,?)*))?(\$[^$]+\$[^$]+)$/.exec(value) ?? [];
  const [, iterations = 100_000] = /(?:^|,)i=(\d+)/.exec(parameters) ?? [];
  return id === undefined ? value : `$${id}$i=${iterations}${rest}`;
}

const bytesOf = ({ value, encoding = "utf8" }: EncodedBytes) => Buffer.from(value, encoding);
const inBase64 = (bytes: EncodedBytes = { value: "" }) => bytesOf(bytes).toString("base64");

/** Firebase exports base64 in the URL-safe alphabet. */
function standardBase64(text: string): string {
  return text.replaceAll("-", "+").replaceAll("_", "/");
}
