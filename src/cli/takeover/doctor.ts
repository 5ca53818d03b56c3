/** The checks of `doctor` during a take-over. Depends on the key material and the store's port. */
import type { KeyMaterial } from "../../app/key-material.js";
import type { Finding } from "../../store/inspection.js";
import type { Store } from "../../store/store.js";

/** Checks whether the old server would renew tokens that Latchkey issued, as it has to after `takeover lead 0`. */
export async function* takeoverFindings(
  { signing, trusted }: Pick<KeyMaterial, "signing" | "trusted">,
  store: Pick<Store, "takeover">,
): AsyncGenerator<Finding> {
  const check = "keys";
  const remedy = "set SIGNING_KEY_FILE to the old server's private key until takeover finish";
  if (signing === undefined) {
    const message = "after takeover lead 0 the old server does not renew Latchkey's tokens";
    yield { level: "warning", check, message, remedy };
    return;
  }
  const isTrusted = trusted.some(({ kid }) => kid === signing.kid);
  // Users are learnt only if a key verifies the old server's tokens, and without trusted keys that is this one.
  const isProven = trusted.length === 0 && (await store.takeover.count()).users > 0;
  if (isTrusted || isProven) {
    const message = "SIGNING_KEY_FILE is the old server's key: it renews Latchkey's tokens";
    yield { level: "ok", check, message };
  } else {
    const message =
      trusted.length > 0
        ? "SIGNING_KEY_FILE is not among the old server's keys in TRUSTED_KEYS_FILE: after takeover lead 0 the old server does not renew Latchkey's tokens"
        : "it is not known yet whether SIGNING_KEY_FILE is the old server's key";
    yield { level: "warning", check, message, remedy };
  }
}
