/** bcrypt, and bcrypt of another hash of the password, which avoids bcrypt's limit of 72 bytes. */
import { createHash, createHmac } from "node:crypto";
import {
  type HashFamily,
  HashRefusal,
  type ParsedHash,
  bounded,
  match,
  prehashed,
} from "./family.js";
import { computeInThread } from "./thread.js";

/** Four times the work of 12, the highest default in use. */
const costMax = 14;
/** bcrypt ignores the bytes after these, and so did the library that made the hash. */
const passwordBytesMax = 72;

/** The last characters of salt and digest have unused bits, which are zero. */
const form =
  /^(?:bcrypt(?:_sha256)?\$|\$wp|\{[^{}]*\})?(\$2([abxy])\$(\d\d)\$([./A-Za-z0-9]{21}[.Oeu])([./A-Za-z0-9]{30}[.CGKOSWaeimquy26]))$/;
const passlibForm =
  /^\$bcrypt-sha256\$(?:(2[ab]),|v=2,t=(2b),r=)(\d+)\$([./A-Za-z0-9]{22})\$([./A-Za-z0-9]{31})$/;

function parseBcrypt(encoded: string): ParsedHash {
  const [, bcrypt = "", variant, digits, salt = "", digest = ""] = match(form, encoded);
  if (variant === "x") {
    throw new HashRefusal("unusable", "$2x$ marks hashes of a faulty crypt_blowfish");
  }
  return {
    cost: { cost: bounded("cost", Number(digits), 4, costMax) },
    isExact: (password) => Buffer.byteLength(password) <= passwordBytesMax,
    secrets: [salt, digest],
    verify: (password) =>
      computeInThread("verifyBcrypt", password.subarray(0, passwordBytesMax), bcrypt),
  };
}

/** Digits of base64 and, at the same position, those of bcrypt's own encoding. */
const bcryptAlphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const base64Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const fromBase64 = (text: string) =>
  Array.from(text, (digit) => bcryptAlphabet[base64Alphabet.indexOf(digit)]).join("");

/** Parses bcrypt in the PHC string format; `v` is the code of the letter after `$2`. */
function parseAdonis(encoded: string): ParsedHash {
  const [, version, cost = "", salt = "", digest = ""] = match(
    /^\$bcrypt\$(?:v=(97|98)\$)?r=(\d+)\$([A-Za-z0-9+/]{22})\$([A-Za-z0-9+/]{31})$/,
    encoded,
  );
  const variant = version === "98" ? "2b" : "2a";
  const inner = parseBcrypt(
    `$${variant}$${cost.padStart(2, "0")}$${fromBase64(salt)}${fromBase64(digest)}`,
  );
  return { ...inner, secrets: [salt, digest] };
}

function parsePasslib(encoded: string): ParsedHash {
  const [, version1, version2, cost = "", salt = "", digest = ""] = match(passlibForm, encoded);
  const variant = version1 || version2;
  const inner = parseBcrypt(`$${variant}$${cost.padStart(2, "0")}$${salt}${digest}`);
  return prehashed(inner, (password) =>
    (version1 ? createHash("sha256") : createHmac("sha256", salt))
      .update(password)
      .digest("base64"),
  );
}

/** The text that Meteor and Django hash in place of the password. */
export function sha256Hex(password: Buffer): string {
  return createHash("sha256").update(password).digest("hex");
}

const ceiling = `cost ${costMax}`;

export const bcryptFamilies: readonly HashFamily[] = [
  {
    name: "bcrypt",
    form: "$2b$12$……",
    source:
      "`$2a$`, `$2b$`, `$2y$` of Devise, Parse Server, PHP and Auth0; Django `bcrypt$…`; Spring `{bcrypt}…`; Dovecot `{BLF-CRYPT}…`",
    ceiling,
    prefix: /^(?:bcrypt\$|\{bcrypt\}|\{crypt\}|\{blf-crypt\})?\$2[abxy]\$/i,
    parse: parseBcrypt,
  },
  {
    name: "bcrypt-sha256",
    form: "bcrypt_sha256$$2b$12$……",
    source: "Django",
    ceiling,
    prefix: /^bcrypt_sha256\$\$2/,
    parse: (encoded) => prehashed(parseBcrypt(encoded), sha256Hex),
  },
  {
    name: "bcrypt-sha256 (passlib)",
    form: "$bcrypt-sha256$v=2,t=2b,r=12$…$…",
    source: "passlib, versions 1 and 2",
    ceiling,
    prefix: /^\$bcrypt-sha256\$/,
    parse: parsePasslib,
  },
  {
    name: "bcrypt (AdonisJS)",
    form: "$bcrypt$v=98$r=10$…$…",
    source: "AdonisJS",
    ceiling,
    prefix: /^\$bcrypt\$/,
    parse: parseAdonis,
  },
  {
    name: "bcrypt-sha384 (WordPress)",
    form: "$wp$2y$10$……",
    source: "WordPress 6.8 and later",
    ceiling,
    prefix: /^\$wp\$2y\$/,
    parse: (encoded) =>
      prehashed(parseBcrypt(encoded), (password) =>
        createHmac("sha384", "wp-sha384").update(password).digest("base64"),
      ),
  },
];
