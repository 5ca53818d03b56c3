import { describe, expect, test } from "@jest/globals";
import { createDecipheriv, randomBytes } from "node:crypto";
import { createKeySealer, KeyEncryptionError } from "../../src/auth/keys/sealing.js";

const secret = Buffer.from("the private key, in DER");
const [old, current] = [randomBytes(32), randomBytes(32)];

const codeOf = (open: () => unknown) => {
  try {
    open();
  } catch (error) {
    return error instanceof KeyEncryptionError ? error.code : error;
  }
  return undefined;
};

describe("a sealed key", () => {
  const sealed = createKeySealer([old]).seal("kid", secret);

  test("is AES-256-GCM with the kid as associated data and a nonce of its own", () => {
    const bytes = Buffer.from(sealed.replace("aes-256-gcm:", ""), "base64url");
    const decipher = createDecipheriv("aes-256-gcm", old, bytes.subarray(0, 12))
      .setAAD(Buffer.from("kid"))
      .setAuthTag(bytes.subarray(-16));
    expect(decipher.update(bytes.subarray(12, -16))).toEqual(secret);
    decipher.final();
    expect(createKeySealer([old]).seal("kid", secret)).not.toBe(sealed);
  });

  test("opens with the key it was sealed with, first or second", () => {
    expect(createKeySealer([old]).open("kid", sealed)).toEqual({ pkcs8: secret, current: true });
    const both = createKeySealer([current, old]);
    expect(both.open("kid", sealed)).toEqual({ pkcs8: secret, current: false });
    expect(both.open("kid", both.seal("kid", secret)).current).toBe(true);
  });

  test("does not open without it, under another kid or altered anywhere", () => {
    expect(codeOf(() => createKeySealer([]).open("kid", sealed))).toBe("missing");
    expect(codeOf(() => createKeySealer([current]).open("kid", sealed))).toBe("wrong");
    const sealer = createKeySealer([old]);
    expect(codeOf(() => sealer.open("other", sealed))).toBe("wrong");
    const bytes = Buffer.from(sealed.replace("aes-256-gcm:", ""), "base64url");
    for (let index = 0; index < bytes.length; index++) {
      const altered = Buffer.from(bytes);
      altered[index] = (altered[index] ?? 0) ^ 1;
      const text = `aes-256-gcm:${altered.toString("base64url")}`;
      expect(codeOf(() => sealer.open("kid", text))).toBe("wrong");
    }
    for (const text of ["", "aes-256-gcm:", "aes-256-gcm:AAAA", "des:AAAA"]) {
      expect(codeOf(() => sealer.open("kid", text))).toBe("wrong");
    }
  });
});

test("without an encryption key it is stored in the clear, and sealed once there is one", () => {
  const clear = createKeySealer([]).seal("kid", secret);
  expect(createKeySealer([]).open("kid", clear)).toEqual({ pkcs8: secret, current: true });
  expect(createKeySealer([current]).open("kid", clear)).toEqual({ pkcs8: secret, current: false });
});
