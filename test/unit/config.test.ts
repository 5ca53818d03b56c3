import { readFileSync, writeFileSync } from "node:fs";
import { describe, expect, test } from "@jest/globals";
import { describeConfig, likelyTypos, parseConfig, variables } from "../../src/config/config.js";

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
    ["TLS_KEY_FILE", { TLS_CERT_FILE: "cert.pem" }],
    ["TLS_CERT_FILE", { TLS_KEY_FILE: "key.pem" }],
    ["TLS_CLIENT_CA_FILE", { TLS_CLIENT_CA_FILE: "ca.pem" }],
  ])("refuses a wrong %s", (name, env) => {
    expect(() => parseConfig(env)).toThrow(name);
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

test("likelyTypos names the variable that was meant", () => {
  expect(likelyTypos({ MONGDB_URI: "a", TOKEN_TTLS: "b", PATH: "c", HOME: "d" })).toEqual([
    expect.stringContaining("MONGODB_URI"),
    expect.stringContaining("TOKEN_TTL"),
  ]);
});

/** `UPDATE_GOLDEN=1 npm test -- config` writes the table anew. */
test("the README lists every variable as the code has it", () => {
  const file = new URL("../../README.md", import.meta.url);
  const readme = readFileSync(file, "utf8");
  const rows = Object.entries(variables).map(([name, row]) => {
    const given = "default" in row ? `\`${row.default}\`` : "unset";
    const fallback = "defaultMeaning" in row ? row.defaultMeaning : given;
    return `| \`${name}\` | ${fallback} | ${row.meaning} |`;
  });
  const table = ["| variable | default | meaning |", "|---|---|---|", ...rows].join("\n");
  const updated = readme.replace(
    /(<!-- configuration -->\n)[^]*(<!-- \/configuration -->)/,
    (_, start: string, end: string) => `${start}\n${table}\n\n${end}`,
  );
  if (process.env["UPDATE_GOLDEN"]) writeFileSync(file, updated);
  expect(readFileSync(file, "utf8")).toBe(updated);
});
