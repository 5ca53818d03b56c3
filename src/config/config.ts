/**
 * The configuration: turns environment variables into one frozen object, or throws one error that names
 * every fault. Reads the files that hold secrets, and no others. Depends on the table of presets, the ways
 * of comparing usernames and node:fs.
 */
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { availableParallelism } from "node:os";
import { issuerWarning } from "../auth/issuer.js";
import { FormatFault, parseFormat, type PasswordFormat } from "../auth/passwords/format.js";
import { usernameMatches } from "../auth/usernames.js";
import { parseConditions } from "./conditions.js";
import { legacyUuidOrders, presetOf, presets, type PresetName } from "./presets.js";
import { misspeltNames, mongoSettings, type Environment } from "./slips.js";

export type { Environment };

const seconds = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86_400 } as const;

/** A parser's error. The message completes the sentence "VARIABLE …". */
class Fault extends Error {
  /** The variable at fault, if it is not the one being parsed. */
  readonly variable: string | undefined;
  constructor(message: string, variable?: string) {
    super(message);
    this.variable = variable;
  }
}

type Parse<T> = (text: string) => T;

const text: Parse<string> = (value) => value;

function integer(min: number, max: number): Parse<number> {
  return (value) => {
    const number = Number(value);
    if (!/^\d+$/.test(value) || number < min || number > max) {
      throw new Fault(`must be a whole number from ${min} to ${max}`);
    }
    return number;
  };
}

/** A duration such as `90s`, `120m` or `30d`, in seconds. */
export function duration(minSeconds: number, maxSeconds: number): Parse<number> {
  return (value) => {
    const [, amount, unit] = /^(\d+)(ms|s|m|h|d)$/.exec(value) ?? [];
    const result = Number(amount) * seconds[(unit ?? "s") as keyof typeof seconds];
    if (!(result >= minSeconds && result <= maxSeconds)) {
      throw new Fault(
        `must be a duration with a unit (ms, s, m, h, d), from ${minSeconds} s to ${maxSeconds} s`,
      );
    }
    return result;
  };
}

function oneOf<const T extends readonly string[]>(...values: T): Parse<T[number]> {
  return (value) => {
    if (!values.includes(value)) throw new Fault(`must be one of ${values.join(", ")}`);
    return value;
  };
}

const onOff: Parse<boolean> = (value) => oneOf("on", "off")(value) === "on";

const timeZone: Parse<string> = (value) => {
  // Intl takes some milliseconds at every start; the default need not be checked.
  if (value === "UTC") return value;
  try {
    return new Intl.DateTimeFormat("en", { timeZone: value }).resolvedOptions().timeZone;
  } catch {
    throw new Fault("must be an IANA time zone such as Europe/Berlin");
  }
};

const uriPart = "(?:[^/?#[\\]@:%]|%[0-9a-f]{2})*";
const uriHead = `^(?:${uriPart}(?::${uriPart})?@)?[^/?#@]+`;
const uriForm = new RegExp(`${uriHead}/[^/?@]+(?:\\?.*)?$`, "is");
const uriWithoutDatabase = new RegExp(`${uriHead}/?(?:\\?[^@]*)?$`, "is");

const mongodbUri: Parse<string> = (value) => {
  const [, rest] = /^mongodb(?:\+srv)?:\/\/(.*)$/s.exec(value) ?? [];
  if (rest === undefined) throw new Fault("must be mongodb://… or mongodb+srv://…");
  if (uriForm.test(rest)) return value;
  if (!uriWithoutDatabase.test(rest) && rest.includes("@")) {
    throw new Fault(
      "has a user name or password with a character that must be percent-encoded: %2F for /, %40 for @, %3A for :, %3F for ?, %23 for #, %5B for [, %5D for ], %25 for %",
    );
  }
  throw new Fault("must name a database: mongodb://host/DATABASE");
};

const fieldPath: Parse<string> = (value) => {
  if (!/^[^.$\s!]+(\.[^.$\s!]+)*$/.test(value)) {
    throw new Fault("must be a field name or a dotted path");
  }
  return value;
};

/** Conditions on fields, in the grammar of conditions.ts. */
const conditions: Parse<string> = (value) => {
  if (parseConditions(value) !== undefined) return value;
  throw new Fault(
    "must be a list of conditions, each a field or a dotted path with a test such as `!is_active`, `status=banned`, `locked_at:date`, `locked_until>now`",
  );
};

const passwordFormat: Parse<PasswordFormat> = (value) => {
  try {
    return parseFormat(value);
  } catch (error) {
    throw error instanceof FormatFault ? new Fault(error.message) : error;
  }
};

/** One or two AES-256 keys: the one to encrypt with, then the previous one. */
const encryptionKeys: Parse<readonly Buffer[]> = (value) => {
  const keys = value.split(",").map((part) => {
    const text = part.trim();
    const encoding = /^[0-9a-f]{64}$/i.test(text) ? "hex" : "base64";
    // Buffer.from skips characters that are not in the encoding, so the form is checked first.
    const valid = encoding === "hex" || /^[A-Za-z0-9+/_-]{43}=?$/.test(text);
    return valid ? Buffer.from(text, encoding) : Buffer.alloc(0);
  });
  if (keys.length > 2 || keys.some((key) => key.length !== 32)) {
    throw new Fault("must be 32 bytes in base64 or hex, or two such keys separated by a comma");
  }
  if (keys[1] !== undefined && keys[0]?.equals(keys[1]))
    throw new Fault("must be two different keys");
  return keys;
};

/** Addresses and networks in CIDR notation. */
const networks: Parse<readonly string[]> = (value) =>
  value.split(",").map((part) => {
    const [address = "", prefix, ...rest] = part.trim().split("/");
    const bits = { 0: -1, 4: 32, 6: 128 }[isIP(address) as 0 | 4 | 6];
    const isPrefix = prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= bits);
    if (bits < 0 || !isPrefix || rest.length > 0) {
      throw new Fault("must be addresses or networks such as 10.0.0.0/8, separated by commas");
    }
    return part.trim();
  });

const proxies: Parse<number | readonly string[]> = (value) =>
  /^\d+$/.test(value) ? integer(0, 100)(value) : networks(value);

const workers: Parse<number | "auto"> = (value) =>
  value === "auto" ? value : integer(1, 1024)(value);

const origins: Parse<readonly string[]> = (value) =>
  value.split(",").map((part) => {
    const origin = part.trim();
    if (!/^https?:\/\/[^/]+$/.test(origin) || new URL(origin).origin !== origin) {
      throw new Fault("must be exact origins such as https://app.example.com, separated by commas");
    }
    return origin;
  });

/** The base URL of another server, without a trailing slash. */
const serverUrl: Parse<string> = (value) => {
  const url = URL.canParse(value) ? new URL(value) : undefined;
  if (url === undefined || !["http:", "https:"].includes(url.protocol)) {
    throw new Fault("must be http://… or https://…");
  }
  if (url.username !== "" || url.password !== "" || /[?#]/.test(value)) {
    throw new Fault("must have no user name, password, query or fragment");
  }
  return url.href.replace(/\/+$/, "");
};

const upstreamPaths: Parse<readonly ("token" | "login")[]> = (value) => {
  const paths = value.split(",").map((path) => oneOf("token", "login")(path.trim()));
  if (new Set(paths).size < paths.length) throw new Fault("must name each path once");
  return paths;
};

/** A duration in seconds; 0 means never. */
const recheckInterval: Parse<number> = (value) =>
  value === "0" ? 0 : duration(1, 86_400 * 365)(value);

/** How many retired keys may stay published, so that the tokens they signed can be verified. */
const retiredKeysMax = 30;

interface Variable<T> {
  readonly parse: Parse<T>;
  /** The default as text, as it would be set; undefined if there is none. */
  readonly default?: string;
  /** Describes a default that depends on the machine or on other variables. */
  readonly defaultMeaning?: string;
  readonly meaning: string;
  /** The value is never shown, and `NAME_FILE` may name a file that holds it. */
  readonly secret?: true;
  /** Returns the part of a secret that may be shown; default: none. */
  readonly mask?: (value: string) => string;
}

/** A variable with a default. */
function variable<T>(parse: Parse<T>, fallback: string, meaning: string) {
  return { parse, default: fallback, meaning } satisfies Variable<T>;
}
/** A variable without a default. */
function optional<T>(parse: Parse<T>, meaning: string) {
  return { parse: (value: string): T | undefined => parse(value), meaning } satisfies Variable<
    T | undefined
  >;
}

/** A connection string without its credentials, and without its options, which may hold secrets too. */
const maskUri = (uri: string) => uri.replace(/\/\/.*@/, "//********@").replace(/\?.*/, "?********");

/** Every variable, in the order in which the documentation and `latchkey config` list them. */
export const variables = {
  HOST: variable(text, "127.0.0.1", "address of the public listener"),
  PORT: variable(integer(0, 65_535), "8080", "port of the public listener; 0 takes any free one"),
  MANAGEMENT_HOST: variable(text, "127.0.0.1", "address of `/livez`, `/readyz` and `/metrics`"),
  MANAGEMENT_PORT: variable(integer(0, 65_535), "9090", "their port; 0 takes any free one"),
  MONGODB_URI: {
    ...optional(
      mongodbUri,
      "connection string with database; without it users are kept in the embedded store",
    ),
    secret: true,
    mask: maskUri,
  },
  DATA_DIR: variable(text, "./data", "folder of the embedded store"),
  USERS_PRESET: optional(
    oneOf(...(Object.keys(presets) as [PresetName, ...PresetName[]])),
    "framework that made the collection; sets the defaults of the other USERS_ variables",
  ),
  USERS_COLLECTION: variable(text, "users", "collection that holds the users"),
  USERS_USERNAME_FIELD: variable(fieldPath, "username", "field of the username"),
  USERS_PASSWORD_FIELD: variable(fieldPath, "passwordHash", "field of the password hash"),
  USERS_DISABLED_FIELD: variable(
    conditions,
    "disabled",
    "fields that disable a user, any one of them; also `!is_active`, `status=banned,closed`, `!status=active`, `locked_at:date`, `locked_until>now`, `a&b` for both",
  ),
  USERS_ROLES_FIELD: variable(fieldPath, "roles", "field of the roles"),
  USERS_TOKENS_VALID_AFTER_FIELD: variable(
    fieldPath,
    "tokensValidAfter",
    "field of the date before which tokens are refused",
  ),
  USERS_PASSWORD_FORMAT: optional(
    passwordFormat,
    "format of hashes that do not name it themselves, in the notation of docs/hash-families.md",
  ),
  USERS_PASSWORD_PEPPER: {
    ...optional(text, "the secret called `pepper` in USERS_PASSWORD_FORMAT"),
    secret: true,
  },
  USERS_LEGACY_UUID: optional(
    oneOf(...legacyUuidOrders),
    "driver whose byte order applies to an `_id` that is a UUID in MongoDB's old binary subtype 3",
  ),
  USERNAME_MATCH: variable(
    oneOf(...usernameMatches),
    "exact",
    "which usernames are the same: exact, ignore-case or ignore-case-and-accents",
  ),
  TOKEN_ISSUER: variable(text, "NomicGameManager.Api", "`iss` of the tokens"),
  TOKEN_AUDIENCE: optional(text, "`aud` of the tokens"),
  TOKEN_TYPE: variable(
    oneOf("JWT", "at+jwt"),
    "JWT",
    "`typ` in the header of the tokens: `at+jwt` if verifiers expect tokens of RFC 9068",
  ),
  TOKEN_TTL: variable(duration(1, 86_400 * 365), "120m", "lifetime of a token"),
  TOKEN_LEEWAY: variable(duration(0, 300), "10s", "clock difference allowed in a token's times"),
  TOKEN_MAX_SESSION: variable(
    duration(1, 86_400 * 3650),
    "30d",
    "time after a login for which its token can be renewed",
  ),
  SIGNING_KEY_FILE: optional(
    text,
    "RSA private key to sign with: PKCS#8 or PKCS#1 in PEM or DER, or a JWK; without it a managed key in the store",
  ),
  TRUSTED_KEYS_FILE: optional(
    text,
    "public keys of old servers whose tokens are still accepted: PEM (also a certificate with its chain), DER or JWKS",
  ),
  SIGNING_KEY_BITS: variable(integer(2048, 8192), "2048", "size of a managed key"),
  KEY_ROTATION_INTERVAL: variable(
    duration(2, 86_400 * 3650),
    "30d",
    "how long a managed key signs before the next one does",
  ),
  KEY_ENCRYPTION_KEY: {
    ...optional(
      encryptionKeys,
      "key that encrypts managed keys in the store, 32 bytes in base64 or hex; or two: the one to use, then the old one",
    ),
    secret: true,
  },
  REVOCATIONS: variable(
    onOff,
    "off",
    "publish revoked users at `/.well-known/revocations`; set it for the command line too",
  ),
  PASSWORD_MIN_LENGTH: variable(
    integer(1, 1024),
    "15",
    "shortest password, in characters, that the command line accepts; it refuses common ones of any length",
  ),
  REHASH: {
    ...variable(
      onOff,
      "on",
      "replace weaker hashes at login; `off` while an old server still reads the collection",
    ),
    defaultMeaning: "`on`, with a preset `off`",
  },
  HASH_CONCURRENCY: {
    ...variable(
      integer(1, 1024),
      String(Math.max(1, availableParallelism() - 1)),
      "password hashes computed at once, over all workers; more than one per core gains nothing",
    ),
    defaultMeaning: "cores - 1, at least 1; with one worker all cores while no token is renewed",
  },
  HASH_QUEUE_MAX: variable(
    integer(1, 100_000),
    "256",
    "logins that wait for their hash, over all workers",
  ),
  THROTTLE_FAILURES: variable(
    integer(0, 1_000_000),
    "10",
    "failed logins of a username from one network, after which one try a minute is allowed; 0 turns throttling off",
  ),
  THROTTLE_USER_FAILURES: variable(
    integer(1, 1_000_000),
    "100",
    "the same over all networks that the user has not logged in from for 30 days",
  ),
  THROTTLE_NETWORK_FAILURES: variable(
    integer(1, 1_000_000),
    "100",
    "the same from one network over all usernames",
  ),
  THROTTLE_WINDOW: variable(
    duration(60, 86_400 * 30),
    "15m",
    "time without a failed login after which the count is forgotten",
  ),
  THROTTLE_EXEMPT_NETWORKS: optional(
    networks,
    "networks that THROTTLE_NETWORK_FAILURES does not limit, separated by commas; an IPv6 address stands for its /64",
  ),
  TRUST_PROXY: optional(
    proxies,
    "number of proxies in front, or their networks separated by commas",
  ),
  TRUST_PROXY_PROTOCOL: optional(
    networks,
    "networks whose connections begin with a PROXY protocol header (v1 or v2), separated by commas",
  ),
  CORS_ORIGINS: optional(origins, "origins whose pages may call, separated by commas"),
  UPSTREAM_URL: optional(
    serverUrl,
    "base URL of the old server to take over from, see docs/take-over.md",
  ),
  UPSTREAM_PATHS: variable(
    upstreamPaths,
    "token",
    "which REST paths the old server serves: `token`, `login` or `token,login`",
  ),
  UPSTREAM_LEAD: variable(
    integer(0, 100),
    "0",
    "per cent of the usernames that Latchkey answers itself; `takeover lead` changes it at run time",
  ),
  UPSTREAM_LEARN: variable(
    onOff,
    "on",
    "keep an argon2id hash of each password that the old server accepts",
  ),
  UPSTREAM_RECHECK: variable(
    recheckInterval,
    "24h",
    "time since the old server last accepted a user, after which a login asks it again; `0` never",
  ),
  UPSTREAM_TIMEOUT: variable(
    duration(0.05, 60),
    "3s",
    "time within which the old server must have answered completely",
  ),
  UPSTREAM_CONCURRENCY: variable(
    integer(1, 1024),
    "32",
    "questions that each process may have open at the old server",
  ),
  UPSTREAM_CA_FILE: optional(
    text,
    "certificate authorities, PEM, one of which must have signed the old server's certificate",
  ),
  LEGACY_TIME_ZONE: variable(timeZone, "UTC", "IANA time zone of `token_exp`"),
  TLS_CERT_FILE: optional(
    text,
    "certificate chain of the public port, PEM; with it the port accepts TLS only",
  ),
  TLS_KEY_FILE: optional(text, "private key of that certificate, PEM"),
  TLS_CLIENT_CA_FILE: optional(
    text,
    "certificate authorities, PEM, one of which must have signed the certificate of every client (mTLS)",
  ),
  KEEP_ALIVE_TIMEOUT: variable(
    duration(1, 86_400),
    "75s",
    "idle time after which a connection is closed; make it longer than the load balancer's",
  ),
  LOG_LEVEL: variable(
    oneOf("fatal", "error", "warn", "info", "debug", "trace", "silent"),
    "info",
    "least severe log lines that are written",
  ),
  LOG_FORMAT: {
    ...optional(oneOf("json", "pretty"), "one JSON object a line, or lines for people"),
    defaultMeaning: "`pretty` on a terminal, else `json`",
  },
  AUDIT_LOG: variable(
    text,
    "stdout",
    "where login attempts and key changes are written: a file, `stdout` or `off`",
  ),
  REFLECTION: variable(onOff, "on", "let RPC clients read the schema by server reflection"),
  API_PAGE: variable(
    onOff,
    "off",
    "serve a page at `/` that describes the API and calls it, and the OpenAPI document; on in the demo",
  ),
  WORKERS: variable(workers, "1", "processes that share the port; `auto` starts one per core"),
  SHUTDOWN_DELAY: variable(
    duration(0, 3600),
    "0s",
    "time after SIGTERM during which requests are served and `/readyz` says not ready, so that load balancers notice",
  ),
  SHUTDOWN_GRACE: variable(duration(0, 3600), "20s", "time after that to finish open requests"),
} as const satisfies Record<string, Variable<unknown>>;

export type VariableName = keyof typeof variables;

/** The parsed values by variable name; durations in seconds. */
export type Config = {
  readonly [Name in VariableName]: ReturnType<(typeof variables)[Name]["parse"]>;
};

/** The message lists every fault of a configuration, one a line, and quotes no secret. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  constructor(faults: readonly string[]) {
    super(`invalid configuration:\n${faults.map((fault) => `  ${fault}`).join("\n")}`);
  }
}

/**
 * Parses the environment into a frozen `Config`. An empty variable counts as unset.
 * @throws ConfigError with all faults
 */
export function parseConfig(env: Environment): Config {
  const { values, faults } = checkConfig(env);
  if (faults.length > 0) throw new ConfigError(faults);
  return Object.freeze(values as Config);
}

/**
 * Like `parseConfig`, but returns the faults, so that a caller can add its own; `values` has the variables that
 * could be parsed.
 */
export function checkConfig(env: Environment): { values: Partial<Config>; faults: string[] } {
  const faults: string[] = [];
  const values: Record<string, unknown> = {};
  for (const [name, row] of rows) {
    try {
      const value = textOf(env, name, row);
      values[name] = value === undefined ? undefined : parseValue(row, value);
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      faults.push(`${error.variable ?? name} ${error.message}`);
    }
  }
  faults.push(...faultsTogether(values, faults.length === 0), ...strayMongoFaults(env));
  return { values, faults };
}

const rows = Object.entries<Variable<unknown>>(variables);

/** The variables that name the file of a secret. */
const secretFileNames = rows.filter(([, row]) => row.secret).map(([name]) => `${name}_FILE`);

function parseValue(row: Variable<unknown>, value: string): unknown {
  try {
    return row.parse(value);
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    throw new Fault(`${error.message}${row.secret ? "" : `, not ${JSON.stringify(value)}`}`);
  }
}

/** Faults of combinations of variables. Durations are compared only if `areDurationsSound`. */
function faultsTogether(config: Partial<Config>, areDurationsSound: boolean): string[] {
  const { TOKEN_MAX_SESSION = 0, TOKEN_TTL = 0, KEY_ROTATION_INTERVAL = 0 } = config;
  const faults: string[] = [];
  if (areDurationsSound && TOKEN_MAX_SESSION < TOKEN_TTL) {
    faults.push("TOKEN_MAX_SESSION must not be shorter than TOKEN_TTL");
  }
  if (areDurationsSound && KEY_ROTATION_INTERVAL * retiredKeysMax < TOKEN_TTL) {
    faults.push(
      `KEY_ROTATION_INTERVAL must be at least a ${retiredKeysMax}th of TOKEN_TTL, or too many retired keys stay published`,
    );
  }
  const { USERS_PASSWORD_FORMAT: format, USERS_PASSWORD_PEPPER: pepper } = config;
  if (format?.usesPepper && pepper === undefined) {
    faults.push("USERS_PASSWORD_FORMAT needs USERS_PASSWORD_PEPPER or USERS_PASSWORD_PEPPER_FILE");
  }
  if ((config.TLS_CERT_FILE === undefined) !== (config.TLS_KEY_FILE === undefined)) {
    faults.push("TLS_CERT_FILE and TLS_KEY_FILE must be set together");
  }
  if (config.TLS_CLIENT_CA_FILE !== undefined && config.TLS_CERT_FILE === undefined) {
    faults.push("TLS_CLIENT_CA_FILE needs TLS_CERT_FILE and TLS_KEY_FILE");
  }
  return faults;
}

const usesMongo = (env: Environment) =>
  Boolean(valueOf(env, "MONGODB_URI") ?? valueOf(env, "MONGODB_URI_FILE"));

/** Without this check a misnamed MONGODB_URI would silently select the embedded store. */
function strayMongoFaults(env: Environment): string[] {
  if (usesMongo(env)) return [];
  const { settings } = mongoSettings(env, [...rows.map(([name]) => name), ...secretFileNames]);
  return settings.map(
    (name) =>
      `${name} looks like a setting of MongoDB, which Latchkey does not read: set MONGODB_URI, or unset ${name} for the embedded store`,
  );
}

/** The value of a variable, without one trailing newline: many tools add one. */
function valueOf(env: Environment, name: string): string | undefined {
  return withoutNewline(env[name] ?? "") || undefined;
}

const withoutNewline = (text: string) => text.replace(/\r?\n$/, "");

/** The value that is set, or that the `_FILE` variable's file holds, else the preset's, else the default. */
function textOf(env: Environment, name: string, row: Variable<unknown>): string | undefined {
  const preset = presetOf(valueOf(env, "USERS_PRESET"));
  const fromPreset = preset && { REHASH: "off", ...preset.variables }[name];
  const value = valueOf(env, name);
  const file = row.secret && `${name}_FILE`;
  const path = file && valueOf(env, file);
  if (path === undefined) return value ?? fromPreset ?? row.default;
  if (value !== undefined) throw new Fault(`and ${file} are both set: unset one of them`);
  return readSecret(path, `${name}_FILE`);
}

/** @throws Fault */
function readSecret(path: string, variable: string): string {
  let text: string;
  try {
    text = withoutNewline(readFileSync(path, "utf8"));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new Fault(`${path} cannot be read: ${code ?? "unknown"}`, variable);
  }
  if (text === "") throw new Fault(`${path} is empty`, variable);
  return text;
}

/**
 * The effective configuration by variable, as text, with secrets masked; `undefined` for a variable that is
 * not set and has no default.
 * @throws Error if the file of a secret cannot be read: call `parseConfig` first
 */
export function describeConfig(env: Environment): Record<string, string | undefined> {
  const described = rows.flatMap(([name, row]) => {
    const value = textOf(env, name, row);
    const shown = row.secret && value !== undefined ? (row.mask?.(value) ?? "********") : value;
    const file = row.secret && valueOf(env, `${name}_FILE`);
    return [[name, shown] as const, ...(file ? [[`${name}_FILE`, file] as const] : [])];
  });
  return Object.fromEntries(described);
}

/** How many processes share the port. */
export function workerCount({ WORKERS }: Pick<Config, "WORKERS">): number {
  return WORKERS === "auto" ? availableParallelism() : WORKERS;
}

/** How many hashes may run at once: `busy` while tokens are renewed, `quiet` after a second without a renewal. */
export function hashConcurrency(env: Environment, config: Config): { busy: number; quiet: number } {
  const busy = config.HASH_CONCURRENCY;
  // A configured number is used unchanged, also the one that a primary sets for each of its workers.
  const isFixed = valueOf(env, "HASH_CONCURRENCY") !== undefined || workerCount(config) > 1;
  return { busy, quiet: isFixed ? busy : availableParallelism() };
}

/** One sentence for each value that is allowed but probably a mistake. */
export function configWarnings(config: Config): string[] {
  const { TOKEN_ISSUER, TOKEN_TYPE, TOKEN_AUDIENCE } = config;
  const warning = issuerWarning(TOKEN_ISSUER);
  const warnings = warning === undefined ? [] : [warning];
  if (TOKEN_TYPE === "at+jwt" && TOKEN_AUDIENCE === undefined) {
    warnings.push(
      "TOKEN_TYPE is at+jwt and TOKEN_AUDIENCE is unset: verifiers that follow RFC 9068 refuse tokens without aud",
    );
  }
  return [...warnings, ...upstreamWarnings(config)];
}

function upstreamWarnings(config: Config): string[] {
  const { UPSTREAM_URL, TRUSTED_KEYS_FILE, SIGNING_KEY_FILE } = config;
  if (UPSTREAM_URL === undefined) return [];
  const { protocol, hostname } = new URL(UPSTREAM_URL);
  const isLoopback = /^(localhost|127\..*|\[::1\])$/.test(hostname);
  const warnings: string[] = [];
  if (protocol === "http:" && !isLoopback) {
    warnings.push("UPSTREAM_URL is plain http: passwords travel to the old server unencrypted");
  }
  if (TRUSTED_KEYS_FILE === undefined && SIGNING_KEY_FILE === undefined) {
    warnings.push(
      "UPSTREAM_URL is set without TRUSTED_KEYS_FILE: no token of the old server can be verified unless its key was imported, so no password is learnt",
    );
  }
  return warnings;
}

/** One sentence for each variable that is not Latchkey's but may be a misspelt one. */
export function likelyTypos(env: Environment): string[] {
  const names = [...rows.map(([name]) => name), ...secretFileNames];
  const { services } = usesMongo(env) ? { services: [] } : mongoSettings(env, names);
  return [
    ...misspeltNames(env, names),
    ...(services[0] === undefined
      ? []
      : [
          `${services[0]} points to a MongoDB, but MONGODB_URI is not set: users are kept in DATA_DIR`,
        ]),
  ];
}
