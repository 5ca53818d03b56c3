/**
 * `latchkey keys …`, while servers run: they notice within a second and carry out what is left to do.
 * Depends on the domain's keys; what reads files and makes keys is loaded by the commands.
 */
import { readFile, stat } from "node:fs/promises";
import { InvalidArgumentError, type Command } from "commander";
import { freshnessMs, KeyOperationError } from "../auth/keys/ring.js";
import type { KeyListing } from "../auth/keys/view.js";
import type { KeyImportRequest, ManagedKeys, SigningChange } from "../auth/keys/managed-keys.js";
import { duration, type Config } from "../config/config.js";
import { describeCommand, withStore, type JsonOption, type Session } from "./command.js";
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
    "Accept the tokens of an old server's key. A private one, PKCS#1 or PKCS#8, is published too; " +
      "SPKI, a certificate or a JWKS is trusted only.",
    "latchkey keys import old-server.pem --sign",
  )
    .option("--sign", "of a private key: it is the next to sign")
    .option(
      "--keep <duration>",
      "of a private key that does not sign: how long its tokens are accepted; else until it is revoked",
      parseDuration,
    )
    .option("--issuer <iss>", "of public keys: the only issuer that they may have signed for")
    .action((file: string, options: ImportOptions) => importKeys(session, file, options));
}

type RotateOptions = JsonOption & { readonly now?: boolean };

interface ImportOptions extends JsonOption {
  readonly sign?: boolean;
  /** In seconds. */
  readonly keep?: number;
  readonly issuer?: string;
}

function parseDuration(text: string): number {
  try {
    return duration(1, 86_400 * 3650)(text);
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}

/** @throws ConfigError; KeyEncryptionError and KeyRingError where the stored keys are not usable. */
function withKeys<T>(
  session: Session,
  work: (keys: ManagedKeys, config: Config) => Promise<T>,
): Promise<T> {
  return withStore(session, async (store, config) => {
    const { createManagedKeys, readKeyMaterial } = await import("../app/key-material.js");
    const keyMaterial = await readKeyMaterial(config);
    const clock = { now: () => session.clock.now(), monotonic: () => performance.now() };
    return work(createManagedKeys({ config, store, keyMaterial }, clock), config);
  });
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
    const change = await withKeys(session, (keys) => keys.rotateNow());
    await session.clock.sleep(freshnessMs);
    await tellSigningChange(session, change, json);
    return;
  }
  const { signingKid = "", at } = await withKeys(session, (keys) => keys.rotate());
  const due = at.getTime() > session.clock.now() ? `from ${at.toISOString()} on` : "within seconds";
  const text = `${safe(signingKid)} signs ${due}: a running server sees to it`;
  await writeLine(session.terminal.stdout, json ? toJson({ signingKid, at }) : text);
}

async function revokeKey(session: Session, kid: string, { json }: JsonOption): Promise<void> {
  const change = await withKeys(session, (keys) => keys.revoke(kid));
  // No replica goes by what it read longer ago than this, so that none accepts the key any more.
  await session.clock.sleep(freshnessMs);
  if (!json) await writeLine(session.terminal.stdout, `revoked ${safe(kid)}`);
  await tellSigningChange(session, change, json, { kid });
}

/** Says which key signs now, and whom that hurts. */
async function tellSigningChange(
  { terminal }: Session,
  { signingKid, unknownForSeconds }: SigningChange,
  json = false,
  names: object = {},
): Promise<void> {
  const text =
    signingKid === undefined
      ? "no key signs: give SIGNING_KEY_FILE another one, or unset it"
      : `${safe(signingKid)} signs`;
  const result = { ...names, signingKid: signingKid ?? null, unknownForSeconds };
  await writeLine(terminal.stdout, json ? toJson(result) : text);
  if (unknownForSeconds > 0) {
    const hurt = `for up to ${unknownForSeconds} s, verifiers that hold an older key set refuse the tokens issued from now on`;
    await warn(terminal, hurt, json);
  }
}

async function importKeys(session: Session, file: string, options: ImportOptions): Promise<void> {
  const { terminal } = session;
  const { sign = false, json } = options;
  const requests = await readRequests(session, file, options);
  await withKeys(session, async (keys, config) => {
    if (sign && !config.KEY_ENCRYPTION_KEY) {
      const { unsealedWarning } = await import("../auth/keys/sealing.js");
      await warn(terminal, unsealedWarning, json);
    }
    for (const request of requests) {
      const { kid } = "key" in request ? request.key : request.trusted;
      try {
        await keys.import(request);
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
  });
}

/** @throws CliError: exit code 78 for what is no such key, 2 for options that do not fit it. */
async function readRequests(
  { terminal }: Session,
  file: string,
  { sign = false, keep, issuer, json }: ImportOptions,
): Promise<KeyImportRequest[]> {
  const { KeyFileError, keyFileWarning, loadAnyKeys } = await import("../auth/keys/files.js");
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
    const limit = issuer === undefined ? {} : { issuer };
    return loaded.trusted.map((key) => ({ trusted: { ...key, ...limit } }));
  }
  if (issuer !== undefined) throw usage("--issuer needs public keys");
  if (sign && keep !== undefined) throw usage("--keep is for a key that does not sign");
  const warning = keyFileWarning(mode);
  if (warning) await warn(terminal, `${file} ${warning}`, json);
  return [{ key: loaded.signing, sign, ...(keep !== undefined && { keepSeconds: keep }) }];
}

const usage = (message: string) => new CliError("usage", message, 2);
