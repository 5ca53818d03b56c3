/**
 * The life of the managed keys, as a pure state machine over one small document, the key ring. A
 * key is published, signs, is retired and leaves; it may be revoked in any state. Depends on
 * nothing.
 *
 * Two promises hold between any two replicas whose clocks are wrong by no more than the schedule's
 * clock error, whatever was cached meanwhile:
 *
 * - A key signs only when every cache of a key set without it has run out (`readyAt`).
 * - A key leaves the set only when every token that it signed has expired (`removeAt`).
 *
 * The first promise costs a wait, so the next key is published as soon as the present one signs.
 */

/** Times in a ring are milliseconds since the epoch, by the clock of the replica that wrote them. */
interface RsaPublicKey {
  /** RFC 7638 thumbprint, or the `kid` that a trusted key came with. */
  readonly kid: string;
  /** Modulus and exponent as in a JWK (RFC 7518 section 6.3.1). */
  readonly n: string;
  readonly e: string;
}

interface RingKeyBase extends RsaPublicKey {
  /** When the key entered its state. */
  readonly since: number;
  /** Imported from an old server, whose tokens may lack claims that ours have. */
  readonly imported?: true;
}

interface PublishedKey extends RingKeyBase {
  readonly state: "published";
  /** When every verifier knows the key. */
  readonly readyAt: number;
  /** Sealed; see sealing.ts. */
  readonly privateKey: string;
}

interface CurrentKey extends RingKeyBase {
  readonly state: "signing";
  readonly readyAt: number;
  readonly privateKey: string;
  /** The longest time for which a token that it signed may be accepted. */
  readonly tokenSeconds: number;
}

/** Still published; its private part is gone. */
interface RetiredKey extends RingKeyBase {
  readonly state: "retired";
  readonly readyAt: number;
  /** When its last token has expired everywhere; absent if only the operator knows. */
  readonly removeAt?: number;
}

/** An old server's public key: accepted, not published. */
interface TrustedKey extends RingKeyBase {
  readonly state: "trusted";
  readonly issuer?: string;
}

export type RingKey = PublishedKey | CurrentKey | RetiredKey | TrustedKey;
export type RingKeyState = RingKey["state"];

export interface Ring {
  readonly format: 1;
  /** The longest time for which a replica may let a key set be cached, stale use included. */
  readonly cacheSeconds: number;
  /** Rotate as soon as the next key is ready. */
  readonly rotateRequested: boolean;
  readonly keys: readonly RingKey[];
  /** Never accepted again, from any source and under any id. */
  readonly revoked: readonly RevokedKey[];
}

/** One entry for each id under which the key was known. */
export interface RevokedKey {
  readonly kid: string;
  /** Its modulus; absent where an earlier version revoked it. */
  readonly n?: string;
  readonly at: number;
}

/** Two keys are the same if their ids match, or their moduli. */
export type KeyIdentity = Pick<RsaPublicKey, "kid" | "n">;

/** A key that is not in the ring yet. */
export interface NewKey extends RsaPublicKey {
  readonly privateKey: string;
}

export interface RotationPolicy {
  /** How long a key signs. */
  readonly intervalSeconds: number;
  /** How long a token may be accepted: its lifetime and the leeway. */
  readonly tokenSeconds: number;
  /** False if a key file signs: the managed keys then only run out. */
  readonly rotates: boolean;
  /** True while no rotation may be carried out; all that prepares one still may. */
  readonly holds: boolean;
}

export type KeyOperationErrorCode =
  "unknown_key" | "already_known" | "kid_taken" | "key_revoked" | "key_file_signs";

/** An operator asked for something that cannot be done to this key. */
export class KeyOperationError extends Error {
  override readonly name = "KeyOperationError";
  constructor(
    readonly code: KeyOperationErrorCode,
    message: string,
  ) {
    super(message);
  }
}

/**
 * A replica signs only with a view that is younger than this; otherwise it loads first. So a
 * replica that has not noticed may sign with a key for this long after its retirement or
 * revocation.
 */
export const freshnessMs = 1000;

/**
 * The times that follow from the interval. Each is at most a quarter of it, so that they fit.
 * `clockErrorSeconds` forgives a clock that is set back by an hour, on top of 90 s of error of each
 * of two clocks: in full from intervals of 4.2 hours on, the 90 s from 12 minutes on.
 */
export function scheduleOf({ intervalSeconds }: Pick<RotationPolicy, "intervalSeconds">) {
  const quarter = intervalSeconds / 4;
  const maxAgeSeconds = Math.floor(Math.min(300, quarter));
  const staleIfErrorSeconds = Math.floor(Math.min(3600, quarter));
  return {
    maxAgeSeconds,
    staleIfErrorSeconds,
    cacheSeconds: maxAgeSeconds + staleIfErrorSeconds,
    clockErrorSeconds: Math.min(3600 + 2 * 90, quarter),
  };
}

/** The ring of an empty store. */
export function emptyRing(policy: Pick<RotationPolicy, "intervalSeconds">): Ring {
  const { cacheSeconds } = scheduleOf(policy);
  return { format: 1, cacheSeconds, rotateRequested: false, keys: [], revoked: [] };
}

export const signingKeyOf = (ring: Ring) => ring.keys.find((key) => key.state === "signing");
export const nextKeyOf = (ring: Ring) => ring.keys.find((key) => key.state === "published");

export const isPublished = (key: RingKey) => key.state !== "trusted";

export const isRevoked = (ring: Ring | undefined, { kid, n }: KeyIdentity) =>
  ring?.revoked.some((key) => key.kid === kid || key.n === n) ?? false;

/** Whether {@link nextRing} needs a newly generated key. */
export const wantsKey = (ring: Ring, policy: RotationPolicy) =>
  policy.rotates && nextKeyOf(ring) === undefined;

/**
 * The ring after every transition that is due at `now`; undefined if none is. Adds `spare` if
 * {@link wantsKey} says so.
 */
export function nextRing(
  ring: Ring,
  now: number,
  policy: RotationPolicy,
  spare?: NewKey,
): Ring | undefined {
  let next = raiseLimits(removeExpired(ring, now), policy);
  next = policy.rotates ? promoteDue(next, now, policy) : retireAbandoned(next, now, policy);
  if (spare && wantsKey(next, policy))
    next = promoteDue(publish(next, spare, now, policy), now, policy);
  return next === ring ? undefined : next;
}

/** Makes the next key sign as soon as it is ready, which may be at once. */
export function rotate(ring: Ring, now: number, policy: RotationPolicy, spare?: NewKey): Ring {
  const next = { ...ring, rotateRequested: true };
  return nextRing(next, now, policy, spare) ?? next;
}

/** Makes the next key sign, ready or not. `spare` becomes the next one, or signs itself. */
export function rotateNow(ring: Ring, now: number, policy: RotationPolicy, spare: NewKey): Ring {
  const filled = nextKeyOf(ring) ? ring : publish(ring, spare, now, policy);
  const next = promote(filled, now, policy);
  return (
    nextRing(next, now, policy, spare.kid === signingKeyOf(next)?.kid ? undefined : spare) ?? next
  );
}

/**
 * Removes a key for good, with whatever other ids it has; undefined if it is revoked already. If it
 * was the signing key, the next key signs at once, ready or not; if there is none, `spare` does.
 *
 * @throws KeyOperationError `unknown_key` if it is neither in the ring nor among `fileKeys`.
 */
export function revoke(
  ring: Ring,
  kid: string,
  now: number,
  policy: RotationPolicy,
  options: { spare?: NewKey; fileKeys: readonly KeyIdentity[] },
): Ring | undefined {
  if (ring.revoked.some((key) => key.kid === kid)) return undefined;
  const known = [...ring.keys, ...options.fileKeys];
  const moduli = known.flatMap((key) => (key.kid === kid ? key.n : []));
  if (moduli.length === 0) throw new KeyOperationError("unknown_key", `there is no key ${kid}`);
  const revoked = known.filter(({ n }) => moduli.includes(n));
  const entries = new Map(revoked.map(({ kid, n }) => [kid, { kid, n, at: now }]));
  const next = {
    ...ring,
    keys: ring.keys.filter(({ n }) => !moduli.includes(n)),
    revoked: [...ring.revoked, ...entries.values()],
  };
  return nextRing(next, now, policy, options.spare) ?? next;
}

export type KeyImport =
  /** Published, and its tokens are accepted. With `sign` it signs once every verifier knows it. */
  | (NewKey & { readonly kind: "private"; readonly sign: boolean; readonly keepSeconds?: number })
  /** Its tokens are accepted. */
  | (RsaPublicKey & { readonly kind: "trusted"; readonly issuer?: string });

/**
 * Adds a key of an old server. A trusted key may be imported again with its private part, and a
 * retired one with `sign`.
 *
 * @throws KeyOperationError `already_known`, `kid_taken`, `key_revoked` or `key_file_signs`.
 */
export function importKey(ring: Ring, key: KeyImport, now: number, policy: RotationPolicy): Ring {
  const { kid, n, e } = key;
  const known = ring.keys.find((other) => other.kid === kid);
  const sign = key.kind === "private" && key.sign;
  if (isRevoked(ring, key)) throw new KeyOperationError("key_revoked", `key ${kid} is revoked`);
  if (known && known.n !== n) {
    throw new KeyOperationError("kid_taken", `another key has the id ${kid}`);
  }
  const upgrade =
    key.kind === "private" && (known?.state === "trusted" || (sign && known?.state === "retired"));
  if (known && !upgrade) {
    throw new KeyOperationError("already_known", `key ${kid} is ${known.state} already`);
  }
  if (sign && !policy.rotates) {
    throw new KeyOperationError("key_file_signs", "a key file signs, so no other key can");
  }
  const others = ring.keys.filter((other) => other !== known);
  const base = { kid, n, e, since: now, imported: true } as const;
  if (key.kind === "trusted") {
    const limit = key.issuer === undefined ? {} : { issuer: key.issuer };
    return { ...ring, keys: [...others, { ...base, ...limit, state: "trusted" }] };
  }
  const readyAt = known?.state === "retired" ? known.readyAt : readyAtOf(ring, now, policy);
  if (!sign) {
    const limit = key.keepSeconds === undefined ? {} : { removeAt: now + key.keepSeconds * 1000 };
    return { ...ring, keys: [...others, { ...base, ...limit, state: "retired", readyAt }] };
  }
  const { privateKey } = key;
  const keys: RingKey[] = [{ ...base, state: "published", readyAt, privateKey }, ...others];
  return rotate({ ...ring, keys }, now, policy);
}

/** What happens next to a key without a command, and when; undefined if nothing does. */
export function nextStepOf(
  ring: Ring,
  key: RingKey,
  policy: RotationPolicy,
): { readonly step: "signing" | "retired" | "removed"; readonly at: number } | undefined {
  if (key.state === "retired") {
    return key.removeAt === undefined ? undefined : { step: "removed", at: key.removeAt };
  }
  const signing = signingKeyOf(ring);
  const next = nextKeyOf(ring);
  if (!policy.rotates || !signing || !next) return undefined;
  const at = rotationAt(ring, signing, next, policy);
  if (key === signing) return { step: "retired", at };
  return key === next ? { step: "signing", at } : undefined;
}

function rotationAt(ring: Ring, signing: CurrentKey, next: PublishedKey, policy: RotationPolicy) {
  const dueAt = ring.rotateRequested ? 0 : signing.since + policy.intervalSeconds * 1000;
  return Math.max(dueAt, next.readyAt);
}

function removeExpired(ring: Ring, now: number): Ring {
  const keys = ring.keys.filter(
    (key) => key.state !== "retired" || key.removeAt === undefined || now < key.removeAt,
  );
  return keys.length === ring.keys.length ? ring : { ...ring, keys };
}

/** A replica that caches or issues for longer than the others must write so before it does. */
function raiseLimits(ring: Ring, policy: RotationPolicy): Ring {
  const { cacheSeconds } = scheduleOf(policy);
  const signing = signingKeyOf(ring);
  let next = ring;
  if (ring.cacheSeconds < cacheSeconds) next = { ...next, cacheSeconds };
  if (policy.rotates && signing && signing.tokenSeconds < policy.tokenSeconds) {
    next = replace(next, signing, { ...signing, tokenSeconds: policy.tokenSeconds });
  }
  return next;
}

function promoteDue(ring: Ring, now: number, policy: RotationPolicy): Ring {
  const signing = signingKeyOf(ring);
  const next = nextKeyOf(ring);
  if (!next) return ring;
  // Without a signing key either the store is new and has no verifiers yet, or the key was revoked
  // and nobody can log in, which is worse than a key that some verifiers do not know yet.
  const due = !signing || (!policy.holds && now >= rotationAt(ring, signing, next, policy));
  return due ? promote(ring, now, policy) : ring;
}

function promote(ring: Ring, now: number, policy: RotationPolicy): Ring {
  const signing = signingKeyOf(ring);
  const next = nextKeyOf(ring);
  if (!next) return ring;
  const rest = signing ? replace(ring, signing, retired(signing, now, policy)) : ring;
  const promoted = replace(rest, next, {
    ...next,
    state: "signing",
    since: now,
    tokenSeconds: policy.tokenSeconds,
  });
  return { ...promoted, rotateRequested: false };
}

function retired(key: CurrentKey, now: number, policy: RotationPolicy): RetiredKey {
  const { kid, n, e, readyAt, tokenSeconds } = key;
  // The clock's error counts twice: in the expiry of the token and in the time of this transition.
  const keepSeconds = tokenSeconds + 2 * scheduleOf(policy).clockErrorSeconds;
  const removeAt = now + freshnessMs + keepSeconds * 1000;
  const origin = key.imported && { imported: key.imported };
  return { kid, n, e, ...origin, state: "retired", since: now, readyAt, removeAt };
}

/**
 * While a key file signs, replicas that do not have the file yet may use the managed signing key.
 * None is left once that key is long overdue for rotation.
 */
function retireAbandoned(ring: Ring, now: number, policy: RotationPolicy): Ring {
  const signing = signingKeyOf(ring);
  if (!signing) return ring;
  const dueAt = Math.max(
    signing.since + policy.intervalSeconds * 1000,
    nextKeyOf(ring)?.readyAt ?? 0,
  );
  if (now < dueAt + waitMs(ring, policy)) return ring;
  return replace(ring, signing, retired(signing, now, policy));
}

function publish(ring: Ring, spare: NewKey, now: number, policy: RotationPolicy): Ring {
  if (isRevoked(ring, spare) || ring.keys.some((key) => key.kid === spare.kid)) return ring;
  const readyAt = readyAtOf(ring, now, policy);
  const keys: RingKey[] = [...ring.keys, { ...spare, state: "published", since: now, readyAt }];
  return { ...ring, cacheSeconds: scheduleOf(policy).cacheSeconds, keys };
}

/**
 * Never before an earlier key is ready: that key may have been published when caches were allowed
 * to last longer.
 */
function readyAtOf(ring: Ring, now: number, policy: RotationPolicy): number {
  const earlier = ring.keys.map((key) => (key.state === "trusted" ? 0 : key.readyAt));
  return Math.max(now + waitMs(ring, policy), ...earlier);
}

function waitMs(ring: Ring, policy: RotationPolicy): number {
  const { cacheSeconds, clockErrorSeconds } = scheduleOf(policy);
  return (Math.max(ring.cacheSeconds, cacheSeconds) + clockErrorSeconds) * 1000 + freshnessMs;
}

const replace = (ring: Ring, old: RingKey, key: RingKey): Ring => ({
  ...ring,
  keys: ring.keys.map((other) => (other === old ? key : other)),
});
