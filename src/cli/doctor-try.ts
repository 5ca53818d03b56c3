/**
 * `doctor --try`: runs one login through the real gate, without the throttle and without writing anything.
 * Depends on the gate, the throttle and the configuration.
 */
import { parsePasswordCredentials } from "../auth/credentials.js";
import { AuthError } from "../auth/errors.js";
import { Gate, HashQueue, type AttemptReason } from "../auth/gate/gate.js";
import { createDecoy, inspectHash } from "../auth/passwords/passwords.js";
import { noRehasher } from "../auth/passwords/rehash.js";
import { noThrottle } from "../auth/throttle/throttle.js";
import type { User } from "../auth/users.js";
import type { Config } from "../config/config.js";
import { usernameKeyFor } from "../config/presets.js";
import { createConfiguredThrottle } from "../app/throttling.js";
import type { Finding } from "../store/inspection.js";
import type { Store } from "../store/store.js";

interface Trial {
  readonly store: Store;
  readonly config: Config;
  readonly clock: { now(): number };
  readonly username: string;
  readonly password: string;
}

type Problem = Pick<Finding, "message" | "remedy">;

/** Reports everything that keeps the login from succeeding, or that it would succeed. */
export async function* tryLogin(trial: Trial): AsyncGenerator<Finding> {
  const { store, username } = trial;
  const name = JSON.stringify(username);
  const reason = await reasonOf(trial);
  const user = await store.users.findByUsername(username);
  const errors = user ? await problemsOf(trial, user, reason) : [unknownUser(name, trial.config)];
  for (const error of errors) yield { level: "error", check: "users", ...error };
  for await (const warning of throttled(trial))
    yield { level: "warning", check: "users", ...warning };
  if (errors.length > 0) return;
  yield { level: "ok", check: "users", message: `${name} would log in with this password` };
}

/** The gate's verdict on the login, without the throttle. */
async function reasonOf({ store, config, username, password }: Trial): Promise<AttemptReason> {
  let reason: AttemptReason = "internal";
  const now = () => performance.now();
  const queue = new HashQueue({ concurrency: () => 1, waitingMax: 1, now });
  const gate = new Gate({
    users: store.users,
    decoy: createDecoy(usernameKeyFor(config)),
    queue,
    rehasher: noRehasher,
    throttle: noThrottle,
    now,
    onAttempt: (event) => (reason = event.reason),
  });
  const attempt = { surface: "rpc_login", clientNetwork: "doctor", requestId: "doctor" } as const;
  try {
    const credentials = parsePasswordCredentials(username, password);
    await gate.check(credentials, { ...attempt, signal: undefined });
  } catch (error) {
    const isRefusal = error instanceof AuthError && error.code === "invalid_credentials";
    if (!isRefusal) throw error;
  }
  return reason;
}

const unknownUser = (name: string, { USERNAME_MATCH, USERS_USERNAME_FIELD }: Config): Problem => ({
  message: `there is no user ${name}, with names compared as ${USERNAME_MATCH}, or two have that name`,
  remedy: `check the spelling, USERNAME_MATCH, and USERS_USERNAME_FIELD (${USERS_USERNAME_FIELD})`,
});

async function problemsOf(
  { store, config, clock }: Trial,
  user: User,
  reason: AttemptReason,
): Promise<Problem[]> {
  const problems: Problem[] = [];
  if (user.disabled) {
    problems.push({
      message: `the user is disabled, by ${config.USERS_DISABLED_FIELD}`,
      remedy: "latchkey users enable, or another USERS_DISABLED_FIELD",
    });
  }
  if (reason === "no_usable_hash") problems.push(hashProblem(user));
  if (reason === "wrong_password") {
    problems.push({
      message: "the password is wrong",
      remedy: "latchkey users passwd sets a new one",
    });
  }
  const account = await store.users.findBySubject(user.id.value);
  if (account === undefined) {
    problems.push({
      message: `two users have the subject ${user.id.value}: neither can renew tokens`,
      remedy: "give one of them another _id",
    });
  }
  if (user.tokensValidAfter && user.tokensValidAfter.getTime() > clock.now()) {
    problems.push({
      message: `tokens of the user are refused until ${user.tokensValidAfter.toISOString()}, which is in the future`,
      remedy: `latchkey users revoke sets it to now; see USERS_TOKENS_VALID_AFTER_FIELD (${config.USERS_TOKENS_VALID_AFTER_FIELD})`,
    });
  }
  return problems;
}

function hashProblem({ passwordHash }: User): Problem {
  const remedy =
    "latchkey users passwd sets a password; see docs/hash-families.md and USERS_PRESET";
  if (passwordHash === undefined) return { message: "the user has no password hash", remedy };
  const { family, verdict, reason = verdict } = inspectHash(passwordHash);
  const kind = family === undefined ? "" : ` (${family})`;
  const message =
    verdict === "over_ceiling"
      ? `the password hash${kind} costs more than a login may: ${reason}`
      : `the password hash${kind} cannot be used: ${reason}`;
  return { message, remedy };
}

/** Limits of the throttle that the user has reached, on any network: the client's own is not known here. */
async function* throttled({ store, config, username }: Trial): AsyncGenerator<Problem> {
  const throttle = createConfiguredThrottle(config, store);
  if (throttle === undefined) return;
  const user = await store.users.findByUsername(username);
  for await (const entry of throttle.list()) {
    if (entry.username !== (user?.username ?? username) || entry.retryAfterSeconds === 0) continue;
    yield {
      message: `throttled by ${entry.scope} after ${entry.failures} failures: the next try is allowed in ${entry.retryAfterSeconds} s`,
      remedy:
        "latchkey users unlock forgets the failures; networks that the user has logged in from are not affected",
    };
  }
}
