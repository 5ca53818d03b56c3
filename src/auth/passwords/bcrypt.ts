/**
 * bcrypt in its own string format. Depends on @node-rs/bcrypt.
 */
import { verify } from "@node-rs/bcrypt";
import { type HashFamily, HashRefusal, type ParsedHash, atMost, match } from "./family.js";

/** About a second of one core; 12 is the highest default in use. */
const costMax = 14;
/** bcrypt reads no further; what made the hash did not either. */
const passwordBytesMax = 72;

const form = /^\$2([abxy])\$(\d\d)\$([./A-Za-z0-9]{22})([./A-Za-z0-9]{31})$/;

export function parseBcrypt(encoded: string): ParsedHash {
  const [, variant, digits, salt = "", digest = ""] = match(form, encoded);
  if (variant === "x") {
    throw new HashRefusal("unusable", "$2x$ marks hashes of a crypt_blowfish with a known fault");
  }
  return {
    cost: { cost: atMost("cost", Number(digits), costMax, 4) },
    bytesMax: passwordBytesMax,
    secrets: [salt, digest],
    verify: (password) => verify(password.subarray(0, passwordBytesMax), encoded),
  };
}

export const bcryptFamilies: readonly HashFamily[] = [
  {
    name: "bcrypt",
    form: "$2b$12$……",
    source: "$2a$, $2b$ and $2y$ of OpenBSD, PHP, Node, Devise, Parse Server, Auth0 and many more",
    prefix: /^\$2[abxy]\$/,
    parse: parseBcrypt,
  },
];
