/**
 * `latchkey keys …`, while servers run: they notice within a second and carry out what is left to do.
 * Depends on commander and the domain's keys; the commands load what reads files and makes keys.
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
    "List all keys: their state, since when, and what happens to them next.",
    "latchkey keys list --json",
  ).action((options: JsonOption) => listKeys(session, options));
  describeCommand(
    keys.command("rotate"),
    "Have the next key sign, once every verifier can know it.",
    "latchkey keys rotate",
  )
    .option("--now", "at once: verifiers that do not know it yet refuse its tokens for a while")
    .action((options: RotateOptions) => rotateKeys(session, options));
  describeCommand(
    keys.command("revoke <kid>"),
    "Refuse every token signed by a key, for good. If it signs, the next one does at once.",
    "latchkey keys revoke NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
  ).action((kid: string, options: JsonOption) => revokeKey(session, kid, options));
  addImportCommand(keys, session);
}

function addImportCommand(keys: Command, session: Session): void {
  describeCommand(
    keys.command("import <file>"),
    "Accept the tokens of an old server's key. A private one (PKCS#1, PKCS#8, JWK) is published too, a " +
      "public one (SPKI, a certificate with its chain, JWKS) only trusted.",
    "latchkey keys import old-server.pem --sign",
  )
    .option("--sign", "of a private key: it is the next to sign")
    .option(
      "--keep <duration>",
      "of a private key that does not sign: how long its tokens are accepted; else until it is revoked",
      parseDuration,
    )
    .option("--issuer <iss>", "of public keys: the only issuer that they may have signed for")
    .option(
      "--kid <id>",
      "the id under which the old server published it; else the file's, or a thumbprint",
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

/** An id goes into the header of every token, whose length is limited. */
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

/** Most commands never load the keys' modules. */
const loadKeys = () => import("../auth/keys/keys.js");

/**
 * @throws ConfigError; KeyEncryptionError and KeyRingError where the stored keys are not usable;
 *   CliError for what cannot be done to a key.
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

/** As `withKeys`, for a change of the keys that there are, which is recorded. */
function changeKeys<T>(
  session: Session,
  action: string,
  work: (keys: ManagedKeys) => Promise<T>,
): Promise<T> {
  return withKeys(session, async (keys, { MONGODB_URI, SIGNING_KEY_FILE }, store) => {
    // Refused, as long as that key signs.
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

/** Waits until no running server goes by what it read before a change. */
async function untilFelt({ clock }: Session): Promise<void> {
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

/** A key as `--json` writes one; null where there is nothing to say. */
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
    await untilFelt(session);
    await tellSigningChange(session, change, json);
    return;
  }
  const { signingKid = "", at } = await changeKeys(session, "key_rotation_asked", (keys) =>
    keys.rotate(),
  );
  const due = at.getTime() > session.clock.now() ? `from ${at.toISOString()} on` : "within seconds";
  const text = `${safe(signingKid)} signs ${due}: a running server sees to it`;
  await writeLine(session.terminal.stdout, json ? toJson({ signingKid, at }) : text);
}

async function revokeKey(session: Session, kid: string, { json }: JsonOption): Promise<void> {
  const deed = { action: "key_revoked", target: kid, about: keyCalled(kid) };
  const change = await withKeys(session, async (keys, _, store) => {
    // Nothing is recorded, or made, where there is nothing to do.
    if (!(await keys.list()).some((key) => key.kid === kid)) {
      throw new CliError("unknown_key", `there is no key ${kid}`);
    }
    return recorded(session, store, deed, () => keys.revoke(kid));
  });
  await untilFelt(session);
  if (!json) await writeLine(session.terminal.stdout, `revoked ${safe(kid)}`);
  const { acceptedForSeconds } = change;
  await tellSigningChange(session, change, json, { kid, acceptedForSeconds });
}

/** Says which key signs now, and what verifiers elsewhere make of that. */
async function tellSigningChange(
  { terminal }: Session,
  { signingKid, unknownForSeconds, acceptedForSeconds }: SigningChange,
  json = false,
  names: object = {},
): Promise<void> {
  const text =
    signingKid === undefined
      ? "no key signs: give SIGNING_KEY_FILE another one, or unset it"
      : `${safe(signingKid)} signs`;
  const result = { ...names, signingKid: signingKid ?? null, unknownForSeconds };
  await writeLine(terminal.stdout, json ? toJson(result) : text);
  if (acceptedForSeconds > 0) {
    const accepted = `services that verify tokens themselves accept that key's until they read the key set again: within ${acceptedForSeconds} s where they keep to its Cache-Control, with many libraries later or only when restarted; see docs/verifiers.md`;
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
        // The others of a file may be new.
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

/** @throws CliError: exit code 78 for what is no such key, 2 for options that do not fit it. */
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
