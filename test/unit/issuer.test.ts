import { expect, test } from "@jest/globals";
import { issuerPathOf } from "../../src/auth/issuer.js";
import { configWarnings, parseConfig } from "../../src/config/config.js";

const warningsOf = (env: Record<string, string>) => configWarnings(parseConfig(env));

test.each([
  ["https://auth.example", ""],
  ["http://127.0.0.1:8080/", ""],
  ["https://auth.example/tenant/", "/tenant"],
])("discovery starts from %s", (issuer, path) => {
  expect(issuerPathOf(issuer)).toBe(path);
  expect(warningsOf({ TOKEN_ISSUER: issuer })).toEqual([]);
});

test.each(["NomicGameManager.Api", "urn:auth", "auth.example", "httpserver"])(
  "%s is no URL and not meant as one",
  (issuer) => {
    expect(issuerPathOf(issuer)).toBeUndefined();
    expect(warningsOf({ TOKEN_ISSUER: issuer })).toEqual([]);
  },
);

test.each([
  "HTTPS://auth.example",
  "https://auth.example?tenant=a",
  "https://auth.example/#a",
  " https://auth.example",
  "https://auth.example\t",
  "https://auth example",
  "https://",
  "https:/auth.example",
  "NomicGameManager.Api ",
])("%j was perhaps meant as a URL: a warning that shows it", (issuer) => {
  expect(issuerPathOf(issuer)).toBeUndefined();
  expect(warningsOf({ TOKEN_ISSUER: issuer })).toEqual([
    expect.stringContaining(`TOKEN_ISSUER ${JSON.stringify(issuer)} gets no discovery documents`),
  ]);
});

test("access tokens of RFC 9068 need an audience", () => {
  expect(warningsOf({ TOKEN_TYPE: "at+jwt" })).toEqual([
    expect.stringContaining("TOKEN_AUDIENCE is unset"),
  ]);
  expect(warningsOf({ TOKEN_TYPE: "at+jwt", TOKEN_AUDIENCE: "api" })).toEqual([]);
  expect(() => parseConfig({ TOKEN_TYPE: "AT+JWT" })).toThrow("TOKEN_TYPE must be one of JWT");
});
