/**
 * One string out of what a framework keeps in pieces, or in a form that does not say what it is.
 * Presets and importers call these; the families parse what they return. A hash that Latchkey wrote
 * into such a field comes through as it is.
 */
const ours = /^\$argon2id\$/;

/** `services.password.bcrypt`, which Latchkey's own may have replaced. */
export function meteorHash(bcrypt: string): string {
  return ours.test(bcrypt) ? bcrypt : `{meteor}${bcrypt}`;
}

/** `services.password.argon2`, which is Meteor's own and nobody else's. */
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

/** `password` of better-auth's accounts; where `password.hash` is set, what that makes carries its own mark. */
export function betterAuthHash(password: string): string {
  return /^[0-9a-f]+:[0-9a-f]+$/.test(password) ? `{better-auth}${password}` : password;
}

/** The parameters that the Firebase console shows for a project, in base64 where they are bytes. */
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
 * `credentialData` and `secretData` of a credential in a Keycloak export, both JSON.
 * Undefined where they are not of that form; what it cannot be used for, `inspectHash` says.
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
    // Only these two exist; an export of old had none and meant the newer.
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

/** Firebase exports the URL-safe alphabet. */
function standardBase64(text: string): string {
  return text.replaceAll("-", "+").replaceAll("_", "/");
}
