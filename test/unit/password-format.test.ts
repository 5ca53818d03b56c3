/** The notation of USERS_PASSWORD_FORMAT: what it says, and what is wrong with one. */
import { describe, expect, test } from "@jest/globals";
import {
  FormatFault,
  fittingFormats,
  formatEncoder,
  knownFormats,
  parseFormat,
} from "../../src/auth/passwords/format.js";
import { inspectHash, verifyPassword } from "../../src/auth/passwords/passwords.js";

const password = "correct horse battery";
/** Made by the systems' own libraries or by an implementation that is not ours. */
const cases: readonly (readonly [notation: string, salt: string, hash: string])[] = [
  ["sha256", "", "9028ea0d15decaa35b2da21c0290af3b1a5ba0a30a591906f89b5074e209ea72"],
  [
    "md5 mix=password+salt layout=hash:salt",
    "",
    "da2fdda93714de49a51c3e38ecd2e2bf:saltsaltsaltsalt",
  ],
  [
    "scrypt N=16384 r=8 p=1 bytes=64 layout=salt:hash",
    "",
    "d957bcf947c104307e9a291bbc5cd3f2:0fb5ae37d0fb46bc51cc20601e84412b343311220b046d5ddabdc8566e84def0afe34c1933051159e17b63ffc206a4cb996adcfe562f93e2cad3259cee19284d",
  ],
  ["marked over=sha512-hex", "", "$2b$04$ypBQUAT7ip3YsmvVlxuGMuDE6NheY5De/12mf4FSz2lLdLtzN49B6"],
];

test.each(cases)("%s", async (notation, salt, stored) => {
  const hash = formatEncoder(parseFormat(notation), undefined)(stored, salt);
  expect(inspectHash(hash)).toMatchObject({ family: "custom", verdict: "ok" });
  expect(await verifyPassword(hash, password)).toBe(true);
  expect(await verifyPassword(hash, `${password}!`)).toBe(false);
});

test("a pepper is not in the encoded hash, and without it the hash is unusable", async () => {
  const format = parseFormat("marked mix=password+pepper");
  const stored = "$2b$04$twZ1jAqR.jzqOGIdywpRLuTUJonOGiRo4ywSqc2quQDVOKGAjlbtC";
  const hash = formatEncoder(format, "spice rack")(stored, "");
  expect(hash).not.toContain("spice");
  expect(await verifyPassword(hash, password)).toBe(true);
  expect(await verifyPassword(hash, `${password}!`)).toBe(false);
  const foreign = formatEncoder(format, undefined)(stored, "");
  expect(inspectHash(foreign).reason).toMatch(/needs a pepper/);
});

test("a hash that carries its own mark goes its own way", () => {
  const encode = formatEncoder(parseFormat("sha256"), undefined);
  const bcrypt = "$2b$04$ypBQUAT7ip3YsmvVlxuGMuDE6NheY5De/12mf4FSz2lLdLtzN49B6";
  expect(encode(bcrypt, "")).toBe(bcrypt);
  const ours = `{argon2}$argon2id$v=19$m=19456,t=2,p=1$…$…`;
  expect(formatEncoder(parseFormat("marked over=sha512-hex"), undefined)(ours, "")).toBe(ours);
});

describe("faults", () => {
  test.each([
    ["", /begins with/],
    ["sha999", /begins with "sha999"/],
    ["sha256 iterations=5", /"iterations=5"; allowed here/],
    ["sha256 rounds=0", /rounds= with a whole number/],
    ["sha256 rounds=2 rounds=3", /rounds twice/],
    ["sha256 mix=salt+password", /mixes a salt and has none/],
    ["sha256 mix=sugar", /mixes sugar/],
    ['sha256 mix="a"', /mix without the password/],
    ["sha256 encoding=octal", /must be one of hex, base64/],
    ["sha256 salt=salt layout=salt:hash", /both in a field and in the layout/],
    ["pbkdf2-sha256 bytes=32 salt=s iterations=4294967295", /from 1 to 2000000/],
    ["pbkdf2-sha256 bytes=4 salt=s iterations=10", /bytes= with a whole number from 16/],
    ["pbkdf2-sha256 bytes=32 iterations=10", /needs salt=FIELD/],
    ["scrypt N=1073741824 r=8 p=1 bytes=64 salt=s", /needs N=/],
    ["scrypt N=1000 r=8 p=1 bytes=64 salt=s", /power of 2/],
    ["marked over=rot13", /over=rot13/],
  ])("%j", (notation, message) => {
    const parse = () => parseFormat(notation);
    expect(parse).toThrow(FormatFault);
    expect(parse).toThrow(message);
  });
});

test("every notation that the documentation lists can be read, and fits by its shape", () => {
  for (const [, notation] of knownFormats) expect(parseFormat(notation).notation).toBe(notation);
  expect(fittingFormats("a".repeat(64))).toEqual(["sha256"]);
  expect(fittingFormats(`${"a".repeat(32)}:${"b".repeat(128)}`)).toHaveLength(3);
  expect(inspectHash("a".repeat(64)).reason).toMatch(/may be one of: sha256$/);
});
