import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import {
  configWarnings,
  describeConfig,
  likelyTypos,
  parseConfig,
  variables,
} from "../../src/config/config.js";

describe("parseConfig", () => {
  test("has a default for everything that needs one", () => {
    expect(parseConfig({})).toMatchObject({ HOST: "127.0.0.1", PORT: 8080, TOKEN_TTL: 7200 });
    expect(parseConfig({ PORT: "" }).PORT).toBe(8080);
    expect(parseConfig({}).MONGODB_URI).toBeUndefined();
  });

  test("names every fault in one message, and no secret", () => {
    const env = {
      PORT: "70000",
      TOKEN_TTL: "120",
      LEGACY_TIME_ZONE: "Mars/Olympus",
      MONGODB_URI: "mongodb://ann:s3cret@localhost",
      KEY_ENCRYPTION_KEY: "s3cret",
      CORS_ORIGINS: "https://a.example/path",
    };
    const parse = () => parseConfig(env);
    for (const name of Object.keys(env)) expect(parse).toThrow(name);
    expect(parse).not.toThrow("s3cret");
  });

  test.each([
    ["TOKEN_MAX_SESSION", { TOKEN_TTL: "2h", TOKEN_MAX_SESSION: "1h" }],
    ["SHUTDOWN_GRACE", { SHUTDOWN_GRACE: "-1s" }],
    ["USERS_USERNAME_FIELD", { USERS_USERNAME_FIELD: "$where" }],
    ["USERS_DISABLED_FIELD", { USERS_DISABLED_FIELD: "!!a" }],
    ["LOG_LEVEL", { LOG_LEVEL: "loud" }],
    ["UPSTREAM_URL", { UPSTREAM_URL: "ftp://old.example" }],
    ["UPSTREAM_URL", { UPSTREAM_URL: "https://ann:s3cret@old.example" }],
    ["UPSTREAM_URL", { UPSTREAM_URL: "https://old.example/?a=b" }],
    ["UPSTREAM_PATHS", { UPSTREAM_PATHS: "token,token" }],
    ["UPSTREAM_PATHS", { UPSTREAM_PATHS: "users" }],
    ["UPSTREAM_LEAD", { UPSTREAM_LEAD: "101" }],
    ["UPSTREAM_RECHECK", { UPSTREAM_RECHECK: "0h" }],
    ["TLS_KEY_FILE", { TLS_CERT_FILE: "cert.pem" }],
    ["TLS_CERT_FILE", { TLS_KEY_FILE: "key.pem" }],
    ["TLS_CLIENT_CA_FILE", { TLS_CLIENT_CA_FILE: "ca.pem" }],
  ])("refuses a wrong %s", (name, env) => {
    expect(() => parseConfig(env)).toThrow(name);
  });

  test("reads where the old server is", () => {
    const upstream = { UPSTREAM_URL: "https://old.example/base/", UPSTREAM_PATHS: "login, token" };
    expect(parseConfig({ ...upstream, UPSTREAM_RECHECK: "0" })).toMatchObject({
      UPSTREAM_URL: "https://old.example/base",
      UPSTREAM_PATHS: ["login", "token"],
      UPSTREAM_RECHECK: 0,
    });
    const trusted = { TRUSTED_KEYS_FILE: "old.pem" };
    const warningsOf = (url: string, env = {}) =>
      configWarnings(parseConfig({ UPSTREAM_URL: url, ...env }));
    for (const url of ["https://old.example", "http://127.0.0.1:1", "http://localhost:1"]) {
      expect(warningsOf(url, trusted)).toEqual([]);
    }
    expect(warningsOf("http://old.example", trusted)).toEqual([
      expect.stringContaining("plain http"),
    ]);
    expect(warningsOf("https://old.example")).toEqual([
      expect.stringContaining("TRUSTED_KEYS_FILE"),
    ]);
  });

  test.each([
    ["90s", 90],
    ["1500ms", 1.5],
    ["1h", 3600],
    ["1d", 86_400],
  ])("reads the duration %s", (text, seconds) => {
    expect(parseConfig({ SHUTDOWN_GRACE: "0s", TOKEN_TTL: text }).TOKEN_TTL).toBe(seconds);
  });
});

describe("describeConfig", () => {
  test("shows what is in effect and masks secrets", () => {
    const shown = describeConfig({
      MONGODB_URI: "mongodb://ann:s3cret@db.example:27017/app?authSource=admin",
      KEY_ENCRYPTION_KEY: "a".repeat(64),
    });
    expect(shown.MONGODB_URI).toBe("mongodb://********@db.example:27017/app?********");
    expect(shown.KEY_ENCRYPTION_KEY).toBe("********");
    expect(shown.TOKEN_TTL).toBe("120m");
    expect(shown.TOKEN_AUDIENCE).toBeUndefined();
  });
});

describe("secrets in files", () => {
  /** Each variable that holds a secret, with a value that it takes. */
  const secrets: Readonly<Record<string, string>> = {
    MONGODB_URI: "mongodb://ann:s3cret@db.example/app?authSource=admin",
    USERS_PASSWORD_PEPPER: "s3cret pepper",
    KEY_ENCRYPTION_KEY: "ab".repeat(32),
  };
  const names = Object.keys(secrets);
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "latchkey-secrets-"));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  function fileWith(content: string): string {
    const path = join(folder, "secret");
    writeFileSync(path, content);
    return path;
  }

  test("the table has every one", () => {
    const marked = Object.entries(variables).filter(([, row]) => "secret" in row);
    expect(marked.map(([name]) => name)).toEqual(names);
  });

  test.each(names.flatMap((name) => ["", "\n", "\r\n"].map((end) => [name, end] as const)))(
    "%s_FILE is read, without the newline %j at its end",
    (name, end) => {
      const value = secrets[name] ?? "";
      const fromFile = parseConfig({ [`${name}_FILE`]: fileWith(value + end) });
      expect(fromFile).toEqual(parseConfig({ [name]: value }));
      expect(describeConfig({ [`${name}_FILE`]: fileWith(value) })).toMatchObject({
        [name]: expect.stringContaining("********"),
        [`${name}_FILE`]: join(folder, "secret"),
      });
    },
  );

  test.each(names)("a wrong %s_FILE is named, its content is not", (name) => {
    const file = `${name}_FILE`;
    const parse = (env: object) => () => parseConfig({ ...env });
    expect(parse({ [file]: join(folder, "none") })).toThrow(
      `${file} ${folder}/none cannot be read`,
    );
    expect(parse({ [file]: folder })).toThrow(`${file} ${folder} cannot be read: EISDIR`);
    expect(parse({ [file]: fileWith("\n") })).toThrow("is empty");
    // Any text may be a pepper.
    if (name !== "USERS_PASSWORD_PEPPER") {
      expect(parse({ [file]: fileWith("s3cret") })).toThrow(`${name} must`);
      expect(parse({ [file]: fileWith("s3cret") })).not.toThrow("s3cret");
    }
    expect(parse({ [file]: fileWith("x"), [name]: secrets[name] })).toThrow(
      `${name} and ${file} are both set`,
    );
  });
});

test.each(Object.entries(variables))("one newline at the end of %s is dropped", (name, row) => {
  const value = "default" in row ? row.default : "";
  if (value === "") return;
  expect(parseConfig({ [name]: `${value}\n` })).toEqual(parseConfig({ [name]: value }));
});

describe("MONGODB_URI", () => {
  const parse = (uri: string) => () => parseConfig({ MONGODB_URI: uri });

  test.each([
    "mongodb://localhost/app",
    "mongodb://a.example:27017,b.example:27017/app?replicaSet=rs0",
    "mongodb://[::1]:27017/app",
    "mongodb+srv://ann:p%40ss%2Fw@cluster.example/app?appName=x@y",
    "mongodb://localhost/app?authMechanismProperties=SERVICE_NAME:x@y",
    "mongodb://%2Ftmp%2Fmongodb-27017.sock/app",
  ])("%s is accepted", (uri) => {
    expect(parse(uri)().MONGODB_URI).toBe(uri);
  });

  test.each(["p@ss", "p/ss", "p?ss", "p#ss", "p:ss", "p%ss", "p[ss", "12/ss"])(
    "the password %s is said to need encoding, and not shown",
    (password) => {
      const fault = parse(`mongodb://ann:${password}@localhost/app`);
      expect(fault).toThrow("percent-encoded");
      expect(fault).not.toThrow(password);
    },
  );

  test.each(["mongodb://localhost", "mongodb://localhost/", "mongodb://ann:x@localhost/?w=1"])(
    "%s is said to name no database",
    (uri) => {
      expect(parse(uri)).toThrow("must name a database");
    },
  );
});

describe("what was perhaps meant", () => {
  test.each([
    ["MONGDB_URI", "MONGODB_URI"],
    ["TOKEN_TTLS", "TOKEN_TTL"],
    ["SIGNING_KEY", "SIGNING_KEY_FILE"],
    ["TRUSTED_KEYS", "TRUSTED_KEYS_FILE"],
    ["TLS_CERT", "TLS_CERT_FILE"],
    ["DATA_DIR_FILE", "DATA_DIR"],
    ["MONGODB_URI_FIL", "MONGODB_URI_FILE"],
    ["KEY_ENCRYPTION_KEYFILE", "KEY_ENCRYPTION_KEY_FILE"],
    ["THROTTLE_FAILURE", "THROTTLE_FAILURES"],
    ["log_level", "LOG_LEVEL"],
  ])("%s is told to be %s", (name, meant) => {
    expect(likelyTypos({ [name]: "a" })).toEqual([
      `${name} is not a variable of Latchkey; did you mean ${meant}?`,
    ]);
  });

  test.each(["PATH", "HOME", "SHELL", "NODE_ENV", "PWD", "HOSTNAME", "TOKEN_TTL"])(
    "%s is nobody's slip",
    (name) => {
      expect(likelyTypos({ [name]: "a" })).toEqual([]);
    },
  );
});

describe("without MONGODB_URI", () => {
  const settings = {
    MONGO_URL: "mongodb://db/app",
    MONGODB_URL: "x",
    MONGO_URI: "x",
    MONGODB_HOST: "db",
    MONGO_HOST: "db",
    MONGODB_DATABASE: "app",
    MONGODB_USERNAME: "ann",
    MONGODB_PASSWORD_FILE: "/run/secrets/x",
    MONGODB_CONNECTION_STRING: "x",
    MONGO_INITDB_ROOT_USERNAME: "root",
    LATCHKEY_MONGODB_URI: "x",
    SPRING_DATA_MONGODB_HOST: "db",
    MONGOLAB_URI: "x",
    DATABASE_URL: "mongodb+srv://db.example/app",
    MONGDB_URI: "mongodb://db.example/app",
    MONGODB_URIS: "x",
  };
  const clusterSets = {
    MONGODB_PORT: "tcp://10.0.0.1:27017",
    MONGODB_SERVICE_HOST: "10.0.0.1",
    MONGODB_SERVICE_PORT: "27017",
    MONGODB_SERVICE_PORT_MONGODB: "27017",
    MONGODB_PORT_27017_TCP: "tcp://10.0.0.1:27017",
    MONGODB_PORT_27017_TCP_ADDR: "10.0.0.1",
    MY_MONGO_SERVICE_HOST: "10.0.0.1",
  };
  const strangers = {
    MONGODB_HOME: "/opt/mongodb",
    MONGOMS_VERSION: "8",
    DATABASE_URL: "postgres://db/app",
    MONGO_URL: "",
  };

  test.each(Object.entries(settings))("%s=%s is a fault, and only then", (name, value) => {
    expect(() => parseConfig({ [name]: value })).toThrow(`${name} looks like a setting of MongoDB`);
    parseConfig({ [name]: value, MONGODB_URI: "mongodb://localhost/app" });
  });

  test.each(Object.entries(clusterSets))("%s=%s is a warning", (name, value) => {
    parseConfig({ [name]: value });
    expect(likelyTypos({ [name]: value })).toEqual([
      expect.stringContaining(`${name} points to a MongoDB, but MONGODB_URI is not set`),
    ]);
    expect(likelyTypos({ [name]: value, MONGODB_URI: "mongodb://localhost/app" })).toEqual([]);
  });

  test.each(Object.entries(strangers))("%s=%s is neither", (name, value) => {
    parseConfig({ [name]: value });
    expect(likelyTypos({ [name]: value })).toEqual([]);
  });
});

/** `UPDATE_GOLDEN=1 npm test -- config` writes the table anew. */
test("the README lists every variable as the code has it", () => {
  const file = new URL("../../README.md", import.meta.url);
  const readme = readFileSync(file, "utf8");
  const rows = Object.entries(variables).flatMap(([name, row]) => {
    const given = "default" in row ? `\`${row.default}\`` : "unset";
    const fallback = "defaultMeaning" in row ? row.defaultMeaning : given;
    const file = `| \`${name}_FILE\` | unset | file that holds ${name}, instead of it |`;
    return [`| \`${name}\` | ${fallback} | ${row.meaning} |`, ...("secret" in row ? [file] : [])];
  });
  const table = ["| variable | default | meaning |", "|---|---|---|", ...rows].join("\n");
  const updated = readme.replace(
    /(<!-- configuration -->\n)[^]*(<!-- \/configuration -->)/,
    (_, start: string, end: string) => `${start}\n${table}\n\n${end}`,
  );
  if (process.env["UPDATE_GOLDEN"]) writeFileSync(file, updated);
  expect(readFileSync(file, "utf8")).toBe(updated);
});
