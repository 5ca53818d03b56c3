/**
 * `latchkey keys …`: changes the key ring while servers run. They notice within a second and carry the change
 * out. Depends on commander and the domain's keys, which the commands load when they run.
 */
import { readFile, stat } from "node:fs/promises";
import { InvalidArgumentError, type Command } from "commander";
import type {
  KeyImportRequest,
  KeyListing,
  ManagedKeys,
  SigningChange,
} from "../auth/keys/keys.js";
import { duration, type Config } from "../config/config.js";
import { describeCommand, withStore, type JsonOption, type Session } from "./command.js";
import type { Store } from "../store/store.js";
import { recorded } from "./record.js";
import { CliError, formatTable, note, safe, toJson, warn, writeLine } from "./terminal.js";

export function addKeysCommands(program: Command, session: Session): void {
  const keys = program.command("keys").description("Manage the keys that sign and verify tokens.");
  describeCommand(
    keys.command("list"),
    "List all keys: their state, since when, and the next step.",
    "latchkey keys list --json",
  ).action((options: JsonOption) => listKeys(session, options));
  describeCommand(
    keys.command("rotate"),
    "Let the next key sign, as soon as every verifier can know it.",
    "latchkey keys rotate",
  )
    .option(
      "--now",
      "at once: verifiers that do not know the key yet refuse its tokens for a while",
    )
    .action((options: RotateOptions) => rotateKeys(session, options));
  describeCommand(
    keys.command("revoke <kid>"),
    "Refuse every token signed by a key, for good. If it is the signing key, the next one signs at once.",
    "latchkey keys revoke NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
  ).action((kid: string, options: JsonOption) => revokeKey(session, kid, options));
  addImportCommand(keys, session);
}

function addImportCommand(keys: Command, session: Session): void {
  describeCommand(
    keys.command("import <file>"),
    "Accept tokens signed by an old server's key. A private key (PKCS#1, PKCS#8, JWK) is published too; a " +
      "public one (SPKI, a certificate with its chain, JWKS) is trusted only.",
    "latchkey keys import old-server.pem --sign",
  )
    .option("--sign", "private keys only: this key is the next to sign")
    .option(
      "--keep <duration>",
      "private keys without --sign only: how long its tokens are accepted; default: until it is revoked",
      parseDuration,
    )
    .option("--issuer <iss>", "public keys only: accept tokens of this issuer alone")
    .option(
      "--kid <id>",
      "the id under which the old server published the key; default: the file's, or a thumbprint",
      parseKid,
    )
    .action((file: string, options: ImportOptions) => importKeys(session, file, options));
}

type RotateOptions = JsonOption & { readonly now?: boolean };

interface ImportOptions extends JsonOption {
  readonly sign?: boolean;
  /** In seconds. */
  readonly keep?: number;
  readonly issuer?: string;
  readonly kid?: string;
}

/** Limited because the header of every token holds the id, and tokens are limited in length. */
const kidForm = /^[\x21-\x7e]{1,256}$/;

function parseKid(text: string): string {
  if (kidForm.test(text)) return text;
  throw new InvalidArgumentError("must be 1 to 256 printable ASCII characters without spaces");
}

function parseDuration(text: string): number {
  try {
    return duration(1, 86_400 * 3650)(text);
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}

/** Loaded late, because most commands do not need these modules. */
const loadKeys = () => import("../auth/keys/keys.js");

/**
 * Runs `work` on the managed keys of the configured store.
 * @throws ConfigError; KeyEncryptionError and KeyRingError if the stored keys are not usable; CliError in place
 *   of a KeyOperationError
 */
function withKeys<T>(
  session: Session,
  work: (keys: ManagedKeys, config: Config, store: Store) => Promise<T>,
  options: { readonly mayCreate?: boolean } = {},
): Promise<T> {
  const onStore = async (store: Store, config: Config) => {
    const { createManagedKeys, readKeyMaterial } = await import("../app/key-material.js");
    const keyMaterial = await readKeyMaterial(config);
    const clock = { now: () => session.clock.now(), monotonic: () => performance.now() };
    const { KeyOperationError } = await loadKeys();
    try {
      return await work(createManagedKeys({ config, store, keyMaterial }, clock), config, store);
    } catch (error) {
      if (!(error instanceof KeyOperationError)) throw error;
      throw new CliError(error.code, error.message);
    }
  };
  return withStore(session, onStore, options);
}

const keyCalled = (kid: string) => `the key ${JSON.stringify(kid)}`;

/** Like `withKeys`, for a change of existing keys, which the administration log records. */
function changeKeys<T>(
  session: Session,
  action: string,
  work: (keys: ManagedKeys) => Promise<T>,
): Promise<T> {
  return withKeys(session, async (keys, { MONGODB_URI, SIGNING_KEY_FILE }, store) => {
    // While a key from a file signs, `work` refuses, and there is nothing to record.
    if (SIGNING_KEY_FILE !== undefined) return work(keys);
    const { document } = await store.keys.load();
    if (document === undefined) {
      const place = MONGODB_URI === undefined ? "DATA_DIR" : "MONGODB_URI";
      const message = `there are no signing keys yet: check ${place}, or start the service, which makes them`;
      throw new CliError("no_keys", message);
    }
    return recorded(session, store, { action, about: "the signing keys" }, () => work(keys));
  });
}

/** Waits until every running server has read the keys again. */
async function untilApplied({ clock }: Session): Promise<void> {
  const { freshnessMs } = await loadKeys();
  await clock.sleep(freshnessMs);
}

async function listKeys(session: Session, { json }: JsonOption): Promise<void> {
  const { stdout } = session.terminal;
  const listing = await withKeys(session, (keys) => keys.list());
  if (json) {
    for (const key of listing) await writeLine(stdout, toJson(describeKey(key)));
    return;
  }
  const lines = formatTable(listHeader, listing.map(listRow));
  for await (const line of lines) await writeLine(stdout, line);
}

/** A key as `--json` writes one; absent values are null. */
function describeKey({ kid, state, source, bits, since, next, issuer }: KeyListing) {
  return {
    ...{ kid, state, source: source ?? null, bits: bits ?? null, since: since ?? null },
    ...{ next: next ?? null, issuer: issuer ?? null },
  };
}

const listHeader = ["STATE", "KID", "BITS", "SOURCE", "SINCE", "NEXT", "AT", "ISSUER"] as const;

function listRow({ kid, state, source, bits, since, next, issuer = "-" }: KeyListing): string[] {
  return [
    ...[state, safe(kid), String(bits ?? "-"), source ?? "-"],
    ...[timeOf(since), next?.step ?? "-", timeOf(next?.at), safe(issuer)],
  ];
}

const timeOf = (time: Date | undefined) => time?.toISOString() ?? "-";

async function rotateKeys(session: Session, { now = false, json }: RotateOptions): Promise<void> {
  if (now) {
    const change = await changeKeys(session, "key_rotated", (keys) => keys.rotateNow());
    await untilApplied(session);
    await tellSigningChange(session, change, json);
    return;
  }
  const { signingKid = "", at } = await changeKeys(session, "key_rotation_asked", (keys) =>
    keys.rotate(),
  );
  const due = at.getTime() > session.clock.now() ? `from ${at.toISOString()} on` : "within seconds";
  const text = `${safe(signingKid)} signs ${due}: running servers carry this out`;
  await writeLine(session.terminal.stdout, json ? toJson({ signingKid, at }) : text);
}

async function revokeKey(session: Session, kid: string, { json }: JsonOption): Promise<void> {
  const deed = { action: "key_revoked", target: kid, about: keyCalled(kid) };
  const change = await withKeys(session, async (keys, _, store) => {
    // Checked first, so that nothing is recorded or created for an unknown key.
    if (!(await keys.list()).some((key) => key.kid === kid)) {
      throw new CliError("unknown_key", `there is no key ${kid}`);
    }
    return recorded(session, store, deed, () => keys.revoke(kid));
  });
  await untilApplied(session);
  if (!json) await writeLine(session.terminal.stdout, `revoked ${safe(kid)}`);
  const { acceptedForSeconds } = change;
  await tellSigningChange(session, change, json, { kid, acceptedForSeconds });
}

/** Says which key signs now, and how long verifiers elsewhere disagree. */
async function tellSigningChange(
  { terminal }: Session,
  { signingKid, unknownForSeconds, acceptedForSeconds }: SigningChange,
  json = false,
  names: object = {},
): Promise<void> {
  const text =
    signingKid === undefined
      ? "no key signs: put another key into SIGNING_KEY_FILE, or unset it"
      : `${safe(signingKid)} signs`;
  const result = { ...names, signingKid: signingKid ?? null, unknownForSeconds };
  await writeLine(terminal.stdout, json ? toJson(result) : text);
  if (acceptedForSeconds > 0) {
    const accepted = `services that verify tokens themselves accept tokens of that key until they read the key set again: within ${acceptedForSeconds} s if they follow its Cache-Control, with many libraries later or only after a restart; see docs/verifiers.md`;
    await warn(terminal, accepted, json);
  }
  if (unknownForSeconds > 0) {
    const refused = `for up to ${unknownForSeconds} s, verifiers that hold an older key set refuse the tokens issued from now on, with some libraries for longer; see docs/verifiers.md`;
    await warn(terminal, refused, json);
  }
}

async function importKeys(session: Session, file: string, options: ImportOptions): Promise<void> {
  const { terminal } = session;
  const { sign = false, json } = options;
  const requests = await readRequests(session, file, options);
  const work = async (keys: ManagedKeys, config: Config, store: Store) => {
    if (sign && !config.KEY_ENCRYPTION_KEY) {
      const { unsealedWarning } = await loadKeys();
      await warn(terminal, unsealedWarning, json);
    }
    const { KeyOperationError } = await loadKeys();
    for (const request of requests) {
      const { kid } = "key" in request ? request.key : request.trusted;
      try {
        const about = keyCalled(kid);
        const deed = { action: "key_imported", target: kid, about, details: { sign } };
        await recorded(session, store, deed, () => keys.import(request));
      } catch (error) {
        // Go on: other keys of the file may be new.
        if (!(error instanceof KeyOperationError)) throw error;
        const { code, message } = error;
        await note(
          terminal,
          json ? toJson({ error: { code, message } }) : `error: ${safe(message)}`,
        );
        session.exitCode = 1;
        continue;
      }
      const { state, next } = (await keys.list()).find((key) => key.kid === kid) ?? {};
      const step = next ? `, ${next.step} from ${next.at.toISOString()} on` : "";
      const text = `imported ${safe(kid)}: ${state ?? "trusted"}${step}`;
      const result = { kid, state: state ?? null, next: next ?? null };
      await writeLine(terminal.stdout, json ? toJson(result) : text);
    }
  };
  await withKeys(session, work, { mayCreate: true });
}

/** @throws CliError: exit code 78 for a file without such a key, 2 for options that do not fit the key */
async function readRequests(
  { terminal }: Session,
  file: string,
  { sign = false, keep, issuer, kid, json }: ImportOptions,
): Promise<KeyImportRequest[]> {
  const { KeyFileError, keyFileWarning, loadAnyKeys } = await loadKeys();
  const [bytes, mode] = await Promise.all([readFile(file), stat(file)]).catch((error: unknown) => {
    const { code } = error as NodeJS.ErrnoException;
    throw new CliError("file_unreadable", `${file} cannot be read: ${code ?? "unknown"}`);
  });
  const loaded = await loadAnyKeys(bytes).catch((error: unknown) => {
    if (!(error instanceof KeyFileError)) throw error;
    throw new CliError("invalid_key_file", `${file}: ${error.message}`, 78);
  });
  if ("trusted" in loaded) {
    if (sign || keep !== undefined) throw usage("--sign and --keep need a private key");
    const { length } = loaded.trusted;
    if (kid !== undefined && length > 1)
      throw usage(`--kid needs one key, and there are ${length}`);
    const names = { ...(kid !== undefined && { kid }), ...(issuer !== undefined && { issuer }) };
    return loaded.trusted.map((key) => ({ trusted: { ...key, ...names } }));
  }
  if (issuer !== undefined) throw usage("--issuer needs public keys");
  if (sign && keep !== undefined) throw usage("--keep is for a key that does not sign");
  const warning = keyFileWarning(mode);
  if (warning) await warn(terminal, `${file} ${warning}`, json);
  const key = { ...loaded.signing, ...(kid !== undefined && { kid }) };
  return [{ key, sign, ...(keep !== undefined && { keepSeconds: keep }) }];
}

const usage = (message: string) => new CliError("usage", message, 2);
