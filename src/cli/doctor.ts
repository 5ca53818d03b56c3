/** `latchkey doctor`. Depends on commander, the configuration, the keys, the store and the census. */
import type { Command } from "commander";
import type { KeyMaterial } from "../app/key-material.js";
import type { Census, FaultyUsers, HashGroup } from "../auth/passwords/census.js";
import { configWarnings, likelyTypos, type Config } from "../config/config.js";
import { nodeWarnings } from "../config/node-release.js";
import { readTracingConfig } from "../observability/tracing-config.js";
import type { Finding } from "../store/inspection.js";
import type { Store } from "../store/store.js";
import { describeCommand, type JsonOption, type Session } from "./command.js";
import { createProgressBar } from "./progress-bar.js";
import { CliError, safe, toJson, writeLine } from "./terminal.js";
import { writeId } from "./users/fields.js";

interface DoctorOptions extends JsonOption {
  readonly names: boolean;
  readonly fix: boolean;
  /** The user whose login to try. */
  readonly try?: string;
  readonly passwordStdin: boolean;
}

/** The deadline of a call: some read the whole collection or build an index on it. */
const wholeCollectionMs = 600_000;

export function addDoctorCommand(program: Command, session: Session): void {
  describeCommand(
    program.command("doctor"),
    "Check configuration, store, indexes and keys, and count the users' password hashes by family.",
    "USERS_PRESET=django latchkey doctor",
  )
    .option("--names", "show the usernames of a finding, not only the _id", false)
    .option("--fix", "make the unique index on the username if it is missing", false)
    .option("--try <name>", "instead, try one login without counting it or writing anything")
    .option("--password-stdin", "read the password for --try from standard input, one line", false)
    .action((options: DoctorOptions) => doctor(session, options));
}

async function doctor(session: Session, options: DoctorOptions): Promise<void> {
  const { terminal, clock } = session;
  const { try: username, passwordStdin } = options;
  if ((username === undefined) === passwordStdin) {
    throw new CliError("usage", "--try and --password-stdin go together", 2);
  }
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
    if (username !== undefined) {
      const [{ tryLogin }, { readPasswordLine }] = await Promise.all([
        import("./doctor-try.js"),
        import("./users/new-password.js"),
      ]);
      const password = await readPasswordLine(terminal.stdin);
      const trial = { store, config, clock, username, password };
      for await (const finding of tryLogin(trial)) await report(finding);
      return;
    }
    for await (const finding of keyFindings(config, keyMaterial, store, clock))
      await report(finding);
    if (config.UPSTREAM_URL !== undefined) {
      const { oldServerFindings, takeoverFindings } = await import("./takeover/doctor.js");
      const { UPSTREAM_URL: url } = config;
      for await (const finding of oldServerFindings(url, config, keyMaterial.upstreamCa))
        await report(finding);
      for await (const finding of takeoverFindings(keyMaterial, store)) await report(finding);
    }
    for await (const finding of store.inspect({ fix: options.fix, now: () => clock.now() })) {
      await report(finding);
    }
    const { takeCensus } = await import("../auth/passwords/census.js");
    const census = await takeCensus(store.users, (users) => bar.show(undefined, `${users} users`));
    for (const finding of censusFindings(census, config)) await report(finding);
    if (options.json) {
      const { users, canLogIn, assumed, hashes } = census;
      await writeLine(terminal.stdout, toJson({ census: { users, canLogIn, assumed, hashes } }));
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
    "lower the cost on the old server and let them log in there, or set a new password",
  ],
  shared_subject: [
    "have the same token subject as a user whose _id is of another type: both can log in, but cannot renew their tokens",
    "give one of each two another _id",
  ],
  no_name: ["have", "check USERS_USERNAME_FIELD if these are too many"],
  foreign: ["are no users, because they have", "give them an _id and a username of another type"],
  duplicate: ["cannot log in, because they have", "rename or remove all but one of each name"],
  unreachable: ["cannot log in, because they have", "rename them, or see USERS_USERNAME_FIELD"],
  note: ["have", "see docs/migration.md"],
  disabled: ["are disabled", "check USERS_DISABLED_FIELD if these are too many"],
} as const satisfies Record<FaultyUsers["fault"], readonly [string, string]>;

const warnings: readonly FaultyUsers["fault"][] = ["no_hash", "no_name", "note"];

function levelOf(fault: FaultyUsers["fault"]): Finding["level"] {
  if (fault === "disabled") return "ok";
  return warnings.includes(fault) ? "warning" : "error";
}

function* censusFindings(census: Census, { USERNAME_MATCH }: Config): Generator<Finding> {
  yield totalFinding(census, USERNAME_MATCH);
  for (const group of census.hashes) yield* groupFindings(group, census);
  for (const { fault, reason, count, examples } of census.faults) {
    const [text, remedy] = faultTexts[fault];
    const isSentence = ["have", "because they have"].some((end) => text.endsWith(end));
    const detail = reason === undefined ? "" : isSentence ? ` ${reason}` : ` (${reason})`;
    const message = `${count} ${text}${detail}`;
    yield { level: levelOf(fault), check: "users", message, remedy, users: examples };
  }
}

function totalFinding({ users, canLogIn, assumed }: Census, match: string): Finding {
  const share = users === 0 ? 100 : Math.floor((1000 * canLogIn) / users) / 10;
  const more = assumed > 0 ? `, ${assumed} more if their hashes are in the assumed format` : "";
  const message = `${canLogIn} of ${users} users can log in (${share}%)${more}, names compared as ${match}`;
  if (users === 0 || canLogIn + assumed > 0) return { level: "ok", check: "users", message };
  const remedy = "check the USERS_ variables or set USERS_PRESET";
  return { level: "error", check: "users", message, remedy };
}

function* groupFindings(group: HashGroup, { hashes }: Census): Generator<Finding> {
  const { family, cost, users, weak, assumed } = group;
  const costs = Object.entries(cost).map(([name, value]) => `${name}=${value}`);
  const isRest =
    costs.length === 0 &&
    hashes.some((other) => other.family === family && Object.keys(other.cost).length > 0);
  const label = isRest ? `${family} of other costs` : [family, ...costs].join(" ");
  const message = `${users} with ${label}${weak ? ", weaker than Latchkey's: replaced at login if REHASH=on" : ""}`;
  if (assumed === undefined) {
    yield { level: "ok", check: "users", message };
    return;
  }
  yield {
    level: "warning",
    check: "users",
    message: `${message}. These hashes do not name their format; assumed: ${assumed}`,
    remedy: "check one with doctor --try; if it fails, set USERS_PASSWORD_FORMAT",
  };
}
