/** The checks of `doctor` during a take-over. Depends on the take-over, the configuration and the store's port. */
import type { KeyMaterial } from "../../app/key-material.js";
import type { Config } from "../../config/config.js";
import type { Finding } from "../../store/inspection.js";
import type { Store } from "../../store/store.js";
import { outageOf } from "../../takeover/outages.js";
import { paths } from "../../takeover/questions.js";
import { Upstream } from "../../takeover/upstream.js";

/** Checks whether the old server answers on its paths. Sends no credentials. */
export async function* oldServerFindings(
  url: string,
  { UPSTREAM_PATHS, UPSTREAM_TIMEOUT }: Pick<Config, "UPSTREAM_PATHS" | "UPSTREAM_TIMEOUT">,
  ca: string | undefined,
): AsyncGenerator<Finding> {
  const check = "old server";
  const onBreaker = () => undefined;
  const upstream = new Upstream({ url, ca, timeoutMs: UPSTREAM_TIMEOUT * 1000, onBreaker });
  try {
    for (const target of UPSTREAM_PATHS.map((name) => paths[name])) {
      const request = { method: "HEAD", target, headers: [], body: undefined };
      const { status } = await upstream.exchange(request, (answer) => answer);
      const message = `the old server answers ${status} to HEAD ${target}`;
      if (status !== 404 && status < 500) yield { level: "ok", check, message };
      else
        yield { level: "warning", check, message, remedy: "check UPSTREAM_URL and UPSTREAM_PATHS" };
    }
  } catch (error) {
    const remedy = `mend that, or correct UPSTREAM_URL (${new URL(url).origin})`;
    yield { level: "error", check, message: outageOf(error).message, remedy };
  } finally {
    await upstream.close();
  }
}

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
