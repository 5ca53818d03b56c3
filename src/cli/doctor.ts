/** `latchkey doctor`. Depends on commander, the configuration, the keys, the store and the census. */
import type { Command } from "commander";
import type { KeyMaterial } from "../app/key-material.js";
import type { Census, FaultyUsers } from "../auth/passwords/census.js";
import { configWarnings, likelyTypos, type Config } from "../config/config.js";
import { nodeWarnings } from "../config/node-release.js";
import { readTracingConfig } from "../observability/tracing-config.js";
import type { Finding } from "../store/inspection.js";
import type { Store } from "../store/store.js";
import { describeCommand, type JsonOption, type Session } from "./command.js";
import { createProgressBar } from "./progress-bar.js";
import { safe, toJson, writeLine } from "./terminal.js";
import { writeId } from "./users/fields.js";

interface DoctorOptions extends JsonOption {
  readonly names: boolean;
  readonly fix: boolean;
}

/** Some questions read the whole collection, and an index on it takes its time. */
const wholeCollectionMs = 600_000;

export function addDoctorCommand(program: Command, session: Session): void {
  describeCommand(
    program.command("doctor"),
    "Check configuration, store, indexes and keys, and take stock of the users' password hashes.",
    "USERS_PRESET=django latchkey doctor",
  )
    .option("--names", "name the users that a finding is about", false)
    .option("--fix", "make the unique index on the username if it is missing", false)
    .action((options: DoctorOptions) => doctor(session, options));
}

async function doctor(session: Session, options: DoctorOptions): Promise<void> {
  const { terminal, clock } = session;
  const bar = createProgressBar(terminal, clock);
  const report = async (finding: Finding) => {
    bar.clear();
    if (finding.level === "error") session.exitCode = 1;
    await writeLine(terminal.stdout, describeFinding(finding, options));
  };
  const { readConfiguration } = await import("../app/key-material.js");
  const { config, keyMaterial } = await readConfiguration(terminal.env);
  const { env } = terminal;
  const doubts = [
    ...nodeWarnings(terminal.nodeVersion),
    ...likelyTypos(env),
    ...readTracingConfig(env).faults,
    ...configWarnings(config),
  ];
  for (const message of doubts) {
    await report({ level: "warning", check: "configuration", message });
  }
  const { openStore } = await import("../store/open-store.js");
  const store = await openStore(config, { deadlineMs: wholeCollectionMs, mayCreate: false });
  try {
    for await (const finding of keyFindings(config, keyMaterial, store, clock))
      await report(finding);
    for await (const finding of store.inspect({ fix: options.fix, now: () => clock.now() })) {
      await report(finding);
    }
    const { takeCensus } = await import("../auth/passwords/census.js");
    const census = await takeCensus(store.users, (users) => bar.show(undefined, `${users} users`));
    for (const finding of censusFindings(census, config)) await report(finding);
    if (options.json) {
      const { users, canLogIn, hashes } = census;
      await writeLine(terminal.stdout, toJson({ census: { users, canLogIn, hashes } }));
    }
  } finally {
    bar.clear();
    await store.close();
  }
}

function describeFinding(finding: Finding, { json, names }: DoctorOptions): string {
  const { level, check, message, remedy, users = [] } = finding;
  if (json) {
    const listed = users.map(({ id, username }) => ({
      _id: writeId(id),
      ...(names && { username }),
    }));
    return toJson({
      level,
      check,
      message,
      ...(remedy && { remedy }),
      ...(listed.length > 0 && { users: listed }),
    });
  }
  const marks = { ok: "ok     ", warning: "WARNING", error: "ERROR  " } as const;
  const list = users.map(({ id, username }) => (names ? `${username} (${id.value})` : id.value));
  return [
    `${marks[level]}  ${check}: ${safe(message)}`,
    ...(remedy === undefined ? [] : [`         -> ${remedy}`]),
    ...(list.length > 0 ? [`         ${names ? "users" : "_id"}: ${safe(list.join(", "))}`] : []),
  ].join("\n");
}

async function* keyFindings(
  config: Config,
  material: KeyMaterial,
  store: Store,
  clock: Session["clock"],
): AsyncGenerator<Finding> {
  const { inspectKeys } = await import("../auth/keys/keys.js");
  for (const message of material.warnings) yield { level: "warning", check: "keys", message };
  const trusted = material.trusted.length;
  if (trusted > 0) {
    yield { level: "ok", check: "keys", message: `${trusted} trusted keys of old servers` };
  }
  if (material.signing) {
    yield { level: "ok", check: "keys", message: "SIGNING_KEY_FILE holds the key that signs" };
    return;
  }
  const { document } = await store.keys.load();
  yield { check: "keys", ...inspectKeys(document, config.KEY_ENCRYPTION_KEY ?? [], clock.now()) };
}

const faultTexts = {
  no_hash: ["have no password hash and cannot log in", "set one with users passwd, if they should"],
  unusable: [
    "have a hash that cannot be used and cannot log in",
    "see docs/hash-families.md; if a framework made them, set USERS_PRESET",
  ],
  over_ceiling: [
    "have a hash that costs more than a login may and cannot log in",
    "have them log in on the old server once its cost is lower, or set a new password",
  ],
  shared_subject: [
    "share the subject of their tokens with a user whose _id is of another type; both are refused",
    "give one of each two another _id",
  ],
  disabled: ["are disabled", "check USERS_DISABLED_FIELD if these are too many"],
} as const satisfies Record<FaultyUsers["fault"], readonly [string, string]>;

function* censusFindings(census: Census, { USERNAME_MATCH }: Config): Generator<Finding> {
  const { users, canLogIn, hashes, faults } = census;
  const share = users === 0 ? 100 : Math.floor((1000 * canLogIn) / users) / 10;
  yield {
    level: users > 0 && canLogIn === 0 ? "error" : "ok",
    check: "users",
    message: `${canLogIn} of ${users} users can log in (${share}%), names compared as ${USERNAME_MATCH}`,
    ...(users > 0 &&
      canLogIn === 0 && { remedy: "check the USERS_ variables or set USERS_PRESET" }),
  };
  for (const { family, cost, users: count, weak } of hashes) {
    const costs = Object.entries(cost).map(([name, value]) => `${name}=${value}`);
    const isRest =
      costs.length === 0 &&
      hashes.some((group) => group.family === family && Object.keys(group.cost).length > 0);
    const label = isRest ? `${family} of other costs` : [family, ...costs].join(" ");
    const message = `${count} with ${label}${weak ? ", weaker than ours: replaced at login if REHASH=on" : ""}`;
    yield { level: "ok", check: "users", message };
  }
  for (const { fault, reason, count, examples } of faults) {
    const [text, remedy] = faultTexts[fault];
    const isError = fault !== "disabled" && fault !== "no_hash";
    yield {
      level: isError ? "error" : fault === "no_hash" ? "warning" : "ok",
      check: "users",
      message: `${count} ${text}${reason ? ` (${reason})` : ""}`,
      remedy,
      users: examples,
    };
  }
}
