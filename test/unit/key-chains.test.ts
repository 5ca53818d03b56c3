/** Certificates in a file of trusted keys: the leaf's key counts, and what is no chain is refused. */
import { createPrivateKey, createPublicKey } from "node:crypto";
import { beforeAll, describe, expect, test } from "@jest/globals";
import { loadAnyKeys, loadTrustedKeys } from "../../src/auth/keys/keys.js";
import { makeCertificate, newRsaKey, type Certificate } from "../support/certificates.js";

const rsa = (name: string, issuer?: Certificate) => makeCertificate(name, issuer, newRsaKey);
const made: Record<string, Certificate> = {};
beforeAll(() => {
  made["root"] = rsa("root");
  made["curved"] = makeCertificate("curved");
  made["between"] = rsa("between", made["root"]);
  made["leaf"] = rsa("leaf", made["between"]);
  made["renewed"] = makeCertificate("leaf", made["curved"], made["leaf"]);
  made["other leaf"] = rsa("other", made["between"]);
  made["stranger"] = rsa("stranger");
  made["namesake of root"] = rsa("root");
  made["cross-signed root"] = makeCertificate("root", made["stranger"], made["root"]);
});

const pem = (names: readonly string[]) =>
  Buffer.from(names.map((name) => made[name]?.cert ?? "").join(""));
const modulusOf = (name: string) =>
  createPublicKey(createPrivateKey(made[name]?.key ?? "")).export({ format: "jwk" }).n;

describe("one key, the leaf's", () => {
  test.each([
    [["leaf"]],
    [["root"]],
    [["leaf", "between"]],
    [["leaf", "between", "root"]],
    [["root", "between", "leaf"]],
    [["between", "leaf", "root"]],
    [["leaf", "leaf"]],
    [["leaf", "renewed", "curved", "between"]],
    [["leaf", "between", "root", "cross-signed root", "stranger"]],
  ])("%j", async (names) => {
    const leaf = names.includes("leaf") ? "leaf" : (names[0] ?? "");
    for (const loaded of [await loadTrustedKeys(pem(names)), await loadAnyKeys(pem(names))]) {
      const keys = "trusted" in loaded ? loaded.trusted : loaded;
      expect(keys).toMatchObject([{ n: modulusOf(leaf) }]);
    }
  });

  test("and public keys beside the chain", async () => {
    const spki = createPublicKey(made["stranger"]?.cert ?? "");
    const file = Buffer.from(spki.export({ type: "spki", format: "pem" }));
    const keys = await loadTrustedKeys(Buffer.concat([pem(["leaf", "between"]), file]));
    expect(keys.map(({ n }) => n)).toEqual([modulusOf("leaf"), modulusOf("stranger")]);
  });
});

describe("refused", () => {
  test.each([
    [["leaf", "stranger"]],
    [["leaf", "root"]],
    [["leaf", "between", "namesake of root"]],
    [["leaf", "other leaf"]],
    [["leaf", "other leaf", "between", "root"]],
    [["root", "stranger"]],
    [["leaf", "curved"]],
  ])("%j", async (names) => {
    const refusal = /^the \d certificates are not one chain.*openssl x509 -in FILE -pubkey -noout$/;
    await expect(loadTrustedKeys(pem(names))).rejects.toThrow(refusal);
    await expect(loadAnyKeys(pem(names))).rejects.toThrow(refusal);
  });
});
