/** The options of the kit: what the types document is what the code holds. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "@jest/globals";
import { createTokenSource } from "../../src/kit/client/client.js";
import { startLatchkey } from "../../src/kit/testing/testing.js";
import { createVerifier } from "../../src/kit/verify/verify.js";

const source = { baseUrl: "https://auth.example", credentials: { username: "a", password: "b" } };
const verifier = { issuer: "https://auth.example", jwksUrl: "https://auth.example/jwks" };
const newSource = (options: object) => createTokenSource({ ...source, ...options });
const newVerifier = (options: object) => createVerifier({ ...verifier, ...options });

/** The files with options, what they make, and the interfaces that are options. */
const files = [
  ["client/client.ts", newSource, ["TokenSourceOptions"]],
  ["verify/verify.ts", newVerifier, ["VerifierOptions"]],
  ["verify/middleware.ts", undefined, ["MiddlewareOptions"]],
  ["verify/connect.ts", undefined, ["ConnectOptions"]],
  ["testing/testing.ts", undefined, ["TestUser", "StartOptions", "TokenParts"]],
] as const;

const numberOf = (text = "") => Number(text.replaceAll(",", ""));

const options = files.flatMap(([file, make, interfaces]) => {
  const text = readFileSync(new URL(`../../src/kit/${file}`, import.meta.url), "utf8");
  return interfaces.flatMap((name) => {
    const body = new RegExp(`export interface ${name} {([^]*?)\n}`).exec(text)?.[1] ?? "";
    const members = [...body.matchAll(/(?:\/\*\*([^]*?)\*\/\s*)?readonly (\w+)(\??): ([^;]+);/g)];
    return members.map(([, comment = "", option = "", optional, type = ""]) => {
      const doc = comment.replace(/\s+\*?\s*/g, " ").trim();
      const range =
        /From ([\d.,]*\d)(?: \w+)? to ([\d.,]*\d)(?: (?:ms|s))?, default ([\d.,]*\d)/.exec(doc);
      return {
        ...{ name: `${name}.${option}`, option, doc, range, make, text, type },
        isOptional: optional === "?",
      };
    });
  });
});

test("all options are found", () => {
  expect(options.length).toBeGreaterThan(30);
  expect(options.filter(({ type }) => type === "number").length).toBeGreaterThanOrEqual(8);
});

test.each(options)("$name is documented", ({ doc, type, range, isOptional }) => {
  expect(doc).not.toBe("");
  if (isOptional) expect(doc).toMatch(/Default|default|[Ww]ithout|absent|Called|Omitted/);
  if (type === "number") expect(range).not.toBeNull();
});

describe.each(options.filter(({ type }) => type === "number"))(
  "$name",
  ({ option, range, make, text }) => {
    const [least, most, fallback] = (range ?? []).slice(1).map(numberOf) as [
      number,
      number,
      number,
    ];
    const made = (value: unknown) => () => make?.({ [option]: value });

    test("takes its range and nothing else", () => {
      for (const value of [least, most, fallback]) expect(made(value)).not.toThrow();
      const step = most > 1 ? 1 : 0.001;
      const wrong = [least - step, most + step, -1, NaN, Infinity, String(fallback)];
      for (const value of wrong) {
        expect(made(value)).toThrow(new RegExp(`^${option} must be a number from`));
        expect(made(value)).toThrow(RangeError);
      }
    });

    test("has the default that is documented", () => {
      const found = new RegExp(`options\\.${option} \\?\\? ([\\d_.]+)`).exec(text)?.[1];
      expect(Number(found?.replaceAll("_", ""))).toBe(fallback);
    });
  },
);

test.each([
  ["the base URL", () => newSource({ baseUrl: "auth.example" })],
  ["the scheme of the base URL", () => newSource({ baseUrl: "ftp://auth.example" })],
  ["the address of the key set", () => newVerifier({ jwksUrl: "jwks.json" })],
  ["the scheme of the key set's address", () => newVerifier({ jwksUrl: "file:///jwks.json" })],
  ["the address of the list", () => newVerifier({ revocationsUrl: "revocations" })],
  ["an empty issuer", () => newVerifier({ issuer: "" })],
  ["no issuer", () => newVerifier({ issuer: undefined })],
  ["an empty audience", () => newVerifier({ audience: "" })],
  ["a list of no audiences", () => newVerifier({ audience: [] })],
  ["a list with an empty audience", () => newVerifier({ audience: ["api", ""] })],
  ["no types", () => newVerifier({ types: [] })],
  ["another word for closed", () => newVerifier({ withoutRevocations: "shut" })],
])("%s is refused", (_, make) => {
  // Node's own URL throws the TypeError of another realm than the test's.
  expect(make).toThrow(expect.objectContaining({ name: "TypeError" }));
});

test.each([
  ["no username", { users: [{ username: "", password: "b" }] }],
  ["an id that is no integer", { users: [{ username: "a", password: "b", id: 1.5 }] }],
  ["a variable out of its range", { env: { TOKEN_TTL: "0s" } }],
])("a test server refuses %s", async (_, options) => {
  await expect(startLatchkey(options)).rejects.toThrow();
});

test("a test server's clock goes forward", async () => {
  const latchkey = await startLatchkey();
  for (const ms of [-1, NaN, Infinity]) expect(() => latchkey.advance(ms)).toThrow(RangeError);
  const before = latchkey.now();
  latchkey.advance(60_000);
  expect(latchkey.now() - before).toBeGreaterThanOrEqual(60_000);
  await latchkey.stop();
});
