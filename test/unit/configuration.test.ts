/** The variables and the files that they name, checked together. */
import { expect, test } from "@jest/globals";
import { readConfiguration } from "../../src/app/key-material.js";

test("every fault of variables, secrets and key files comes in one message", async () => {
  const absent = "/nowhere/at-all";
  const faulty = {
    PORT: "70000",
    MONGODB_URI_FILE: absent,
    KEY_ENCRYPTION_KEY: "short",
    SIGNING_KEY_FILE: absent,
    TRUSTED_KEYS_FILE: import.meta.filename,
    TLS_CERT_FILE: absent,
    TLS_KEY_FILE: absent,
  };
  const names = Object.keys(faulty).filter((name) => !name.startsWith("TLS_"));
  const reading = readConfiguration(faulty, () => Promise.resolve(["AUDIT_LOG cannot be opened"]));
  const { message } = (await reading.catch((error: unknown) => error)) as Error;
  for (const name of [...names, "TLS", "AUDIT_LOG"]) expect(message).toContain(name);
});
