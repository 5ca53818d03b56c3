import { describe, expect, test } from "@jest/globals";
import { randomBytes } from "node:crypto";
import { createLocalJWKSet, jwtVerify, SignJWT, type JSONWebKeySet } from "jose";
import { AuthError } from "../../src/auth/errors.js";
import type { KeyEvent } from "../../src/auth/keys/events.js";
import { KeyEncryptionError } from "../../src/auth/keys/sealing.js";
import { ManagedKeys, type ManagedKeysOptions } from "../../src/auth/keys/managed-keys.js";
import type { Ring } from "../../src/auth/keys/ring.js";
import { KeyRingError } from "../../src/auth/keys/ring-replica.js";
import { generateRsaKey } from "../../src/auth/keys/rsa.js";
import { fakeKey } from "../support/fake-key.js";
import { MemoryKeyStore } from "../support/memory-key-store.js";

const day = 86_400_000;
const readyMs = 3 * 3_600_000;
let generated = 0;

class Store extends MemoryKeyStore {
  down = false;
  loads = 0;
  losesAnswers = false;

  override async load() {
    this.loads++;
    if (this.down) throw new AuthError("store_unavailable", "down");
    return super.load();
  }

  override async save(document: string, expectedVersion: number) {
    const saved = await super.save(document, expectedVersion);
    if (this.losesAnswers) throw new AuthError("store_unavailable", "lost");
    return saved;
  }
}

class Clock {
  wallMs = Date.UTC(2030, 0, 1);
  monotonicMs = 0;
  now = () => this.wallMs;
  monotonic = () => this.monotonicMs;
  pass(ms: number) {
    this.wallMs += ms;
    this.monotonicMs += ms;
  }
}

function fleet(store = new Store(), clock = new Clock()) {
  const events: KeyEvent[] = [];
  const replica = (options: Partial<ManagedKeysOptions> = {}) =>
    new ManagedKeys({
      ...{ store, clock, intervalSeconds: 30 * 86_400, tokenSeconds: 7210, encryptionKeys: [] },
      generateKey: () => Promise.resolve(fakeKey(++generated)),
      onEvent: (event) => events.push(event),
      ...options,
    });
  return { store, clock, events, replica };
}

/** Refreshed twice, so that a key signs and the next one is published, and steadily in touch. */
async function running(keys: ManagedKeys, clock: Clock): Promise<ManagedKeys> {
  await keys.refresh();
  await keys.refresh();
  await steadily(keys, clock, 10_000);
  return keys;
}

async function steadily(keys: ManagedKeys, clock: Clock, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 5000) {
    clock.pass(5000);
    await keys.refresh();
  }
}

/** Time passes, and then the replica is in touch for long enough to rotate. */
async function later(keys: ManagedKeys, clock: Clock, ms: number): Promise<void> {
  clock.pass(ms);
  await keys.refresh();
  await steadily(keys, clock, 10_000);
}

/** What replicas did themselves, or what they saw that others had done. */
const typesOf = (events: readonly KeyEvent[], elsewhere = false) =>
  events.filter((event) => "elsewhere" in event === elsewhere).map((event) => event.type);

async function publishedKids(keys: ManagedKeys): Promise<string[] | undefined> {
  const set = await keys.published();
  return set && (JSON.parse(set.body) as { keys: { kid: string }[] }).keys.map((key) => key.kid);
}

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => "none",
    (error: unknown) => (error as AuthError).code,
  );

describe("on an empty store", () => {
  test("a key signs at once, and its tokens verify with the published set", async () => {
    const { replica, events } = fleet();
    const keys = replica({ generateKey: () => generateRsaKey(2048) });
    expect(await keys.published()).toBeUndefined();
    await keys.refresh();
    await keys.refresh();
    const { kid, privateKey } = await keys.signingKey();
    const token = await new SignJWT().setProtectedHeader({ alg: "RS256", kid }).sign(privateKey);
    const set = await keys.published();
    const jwks = JSON.parse(set?.body ?? "") as JSONWebKeySet;
    await jwtVerify(token, createLocalJWKSet(jwks));
    expect(jwks.keys).toHaveLength(2);
    expect(Object.keys(jwks.keys[0] ?? {})).toEqual(["kty", "use", "alg", "kid", "n", "e"]);
    expect(set).toMatchObject({ maxAgeSeconds: 300, staleIfErrorSeconds: 3600 });
    expect(set?.etag).toMatch(/^"[\w-]{43}"$/);
    expect(events.map((event) => event.type)).toEqual([
      ...["key_generated", "key_signing", "key_generated", "key_published"],
    ]);
  });

  test("ten replicas that start at once publish one identical key set", async () => {
    const { replica, store } = fleet();
    const replicas = Array.from({ length: 10 }, () => replica());
    await Promise.all(replicas.map((keys) => keys.refresh()));
    const signing = await Promise.all(replicas.map((keys) => keys.signingKey()));
    expect(new Set(signing.map((key) => key.kid)).size).toBe(1);
    await Promise.all(replicas.map((keys) => keys.refresh()));
    for (const keys of replicas) await keys.refresh();
    const sets = await Promise.all(replicas.map((keys) => keys.published()));
    expect(new Set(sets.map((set) => set?.body)).size).toBe(1);
    expect(await publishedKids(replicas[0] as ManagedKeys)).toHaveLength(2);
    expect(store.version).toBe(2);
  });

  test("a write that is not confirmed fails; if it is found later, it is told and not repeated", async () => {
    const { replica, store, events } = fleet();
    store.losesAnswers = true;
    const keys = replica();
    expect(await codeOf(keys.refresh())).toBe("store_unavailable");
    expect(await codeOf(keys.refresh())).toBe("store_unavailable");
    store.losesAnswers = false;
    await keys.refresh();
    expect(store.version).toBe(2);
    expect(await publishedKids(keys)).toHaveLength(2);
    expect(events.filter(({ type }) => type.startsWith("key_"))).toHaveLength(4);
  });
});

describe("a replica that was asleep", () => {
  test("signs with the key of the day, and while it cannot ask with none", async () => {
    const { replica, clock, store } = fleet();
    const [awake, asleep] = [await running(replica(), clock), await running(replica(), clock)];
    const before = await asleep.signingKey();
    await later(awake, clock, 31 * day);
    store.down = true;
    expect(await codeOf(asleep.signingKey())).toBe("store_unavailable");
    store.down = false;
    const after = await asleep.signingKey();
    expect(after.kid).not.toBe(before.kid);
    expect(after.kid).toBe((await awake.signingKey()).kid);
  });

  test("notices by whichever of its clocks went on", async () => {
    const { replica, clock, store } = fleet();
    const keys = await running(replica(), clock);
    store.down = true;
    clock.wallMs -= 3_600_000;
    await keys.signingKey();
    clock.monotonicMs += 1001;
    expect(await codeOf(keys.signingKey())).toBe("store_unavailable");
    store.down = false;
    await keys.signingKey();
    store.down = true;
    clock.wallMs += 1001;
    expect(await codeOf(keys.signingKey())).toBe("store_unavailable");
  });

  test("does not rotate before the others have had time to see what it sees", async () => {
    const { replica, clock } = fleet();
    const keys = await running(replica(), clock);
    const before = await keys.signingKey();
    clock.pass(31 * day);
    await keys.refresh();
    expect((await keys.signingKey()).kid).toBe(before.kid);
    await steadily(keys, clock, 10_000);
    expect((await keys.signingKey()).kid).not.toBe(before.kid);
  });
});

test("an answer of the store that came too late to be true is asked for again", async () => {
  const { replica, clock, store } = fleet();
  const keys = await running(replica(), clock);
  const other = await running(replica(), clock);
  clock.pass(2000);
  const load = store.load.bind(store);
  let slow = true;
  store.load = async () => {
    const answer = await load();
    if (slow) {
      slow = false;
      await other.rotateNow();
      clock.pass(2000);
    }
    return answer;
  };
  const { kid } = await keys.signingKey();
  expect(kid).toBe((await other.signingKey()).kid);
});

describe("while the store is down", () => {
  test("the last known key set is served, and cached for as long as it can be right", async () => {
    const { replica, clock, store } = fleet();
    const keys = await running(replica(), clock);
    const kids = await publishedKids(keys);
    store.down = true;
    clock.pass(600_000 + 1000);
    await keys.refresh().catch(() => undefined);
    expect(await keys.published()).toMatchObject({ maxAgeSeconds: 300, staleIfErrorSeconds: 3000 });
    clock.pass(3_200_000);
    expect(await keys.published()).toMatchObject({ maxAgeSeconds: 100, staleIfErrorSeconds: 0 });
    clock.pass(day);
    expect(await keys.published()).toMatchObject({ maxAgeSeconds: 0, staleIfErrorSeconds: 0 });
    expect(await publishedKids(keys)).toEqual(kids);
    expect(await keys.verificationKeys(kids?.[0])).toHaveLength(1);
  });

  test("nobody who can do without waits for it again and again", async () => {
    const { replica, clock, store } = fleet();
    const keys = await running(replica(), clock);
    store.down = true;
    clock.pass(2000);
    await keys.published();
    const { loads } = store;
    const unknown = codeOf(keys.verificationKeys("unknown"));
    await Promise.all([keys.published(), unknown, keys.published()]);
    expect(store.loads).toBe(loads);
  });

  test("a key that is not known may be a new one", async () => {
    const { replica, clock, store } = fleet();
    const keys = replica();
    store.down = true;
    expect(await codeOf(keys.verificationKeys("new"))).toBe("store_unavailable");
    store.down = false;
    clock.pass(11_000);
    expect(await keys.verificationKeys("new")).toEqual([]);
  });

  test("its loss and return are told once each", async () => {
    const { replica, clock, store, events } = fleet();
    const keys = await running(replica(), clock);
    events.length = 0;
    store.down = true;
    for (const down of [true, true, false, false]) {
      store.down = down;
      await keys.refresh().catch(() => undefined);
    }
    expect(events.map((event) => event.type)).toEqual(["refresh_failed", "refresh_recovered"]);
  });
});

describe("revocation", () => {
  test("is felt within a second by a replica that did not poll, and another key signs", async () => {
    const { replica, clock, events } = fleet();
    const [one, other] = [await running(replica(), clock), await running(replica(), clock)];
    const { kid } = await other.signingKey();
    events.length = 0;
    const change = await one.revoke(kid);
    const { kid: signingKid } = await one.signingKey();
    expect(change).toEqual({ signingKid, unknownForSeconds: 280, acceptedForSeconds: 300 });
    clock.pass(1001);
    expect(await other.verificationKeys(kid)).toEqual([]);
    expect((await other.signingKey()).kid).toBe(change.signingKid);
    expect(await publishedKids(other)).not.toContain(kid);
    const changes = ["key_revoked", "key_signing", "key_published"];
    expect(typesOf(events)).toEqual(["key_generated", ...changes]);
    expect(typesOf(events, true)).toEqual(changes);
    expect(await one.list()).toContainEqual(expect.objectContaining({ kid, state: "revoked" }));
    expect(await codeOf(one.revoke("nothing"))).toBe("unknown_key");
    expect(await one.revoke(kid)).toMatchObject({ unknownForSeconds: 0 });
  });

  test("reaches keys from files", async () => {
    const { replica, clock } = fleet();
    const file = { signingFileKey: fakeKey(1001), trustedFileKeys: [fakeKey(1002)] };
    const keys = replica(file);
    await keys.refresh();
    expect(await keys.verificationKeys(undefined)).toHaveLength(2);
    expect(await keys.revoke("key-1002")).toMatchObject({ acceptedForSeconds: 0 });
    expect(await keys.verificationKeys(undefined)).toHaveLength(1);
    const none = { signingKid: undefined, unknownForSeconds: 0, acceptedForSeconds: 300 };
    expect(await keys.revoke("key-1001")).toEqual(none);
    expect(await keys.verificationKeys(undefined)).toEqual([]);
    clock.pass(1001);
    expect(await codeOf(keys.signingKey())).toBe("internal");
    expect(await keys.verificationKeys("key-1001")).toEqual([]);
  });

  test("reaches a key under each of its ids, wherever it is", async () => {
    const { replica, store, clock } = fleet();
    const key = fakeKey(1003);
    const trustedFileKeys = [{ ...key, kid: "old-1" }, fakeKey(1004)];
    const keys = await running(replica({ trustedFileKeys }), clock);
    await keys.import({ trusted: { ...key, kid: "old-2" } });
    await keys.import({ trusted: key });
    expect(await keys.verificationKeys(undefined)).toHaveLength(4);
    await keys.revoke(key.kid);
    expect((await keys.verificationKeys(undefined)).map(({ kid }) => kid)).toEqual(["key-1004"]);
    const { revoked } = JSON.parse(store.document ?? "") as Ring;
    expect(revoked.map(({ kid }) => kid).sort()).toEqual(["key-1003", "old-1", "old-2"]);
    for (const kid of ["old-1", "old-3"]) {
      expect(await codeOf(keys.import({ trusted: { ...key, kid } }))).toBe("key_revoked");
    }
  });
});

describe("rotation", () => {
  test("by the operator: published for long, the next key signs within seconds", async () => {
    const { replica, clock } = fleet();
    const server = await running(replica(), clock);
    const [, next] = (await publishedKids(server)) ?? [];
    await later(server, clock, readyMs);
    const rotated = await replica().rotate();
    expect(rotated).toEqual({ signingKid: next, at: new Date(clock.now()) });
    await server.refresh();
    expect((await server.signingKey()).kid).toBe(next);
    const again = await replica().rotate();
    expect(again.at.getTime()).toBe(clock.now() + (3900 + 3780 + 1) * 1000);
  });

  test("at once: a token by a key that nobody knew is accepted by the next replica", async () => {
    const { replica, clock } = fleet();
    const [one, other] = [await running(replica(), clock), await running(replica(), clock)];
    await one.rotateNow();
    await one.rotateNow();
    await one.rotateNow();
    clock.pass(200);
    const { kid } = await one.signingKey();
    expect(await other.verificationKeys(kid)).toHaveLength(1);
  });

  test("says whom it hurts if at once", async () => {
    const { replica, clock } = fleet();
    const keys = await running(replica(), clock);
    expect(await keys.rotateNow()).toMatchObject({ unknownForSeconds: 290 });
    await later(keys, clock, readyMs);
    expect(await keys.rotateNow()).toMatchObject({ unknownForSeconds: 0 });
  });

  test("is done once, by all replicas together, and each step is told once", async () => {
    const { replica, clock, events } = fleet();
    const replicas = [await running(replica(), clock), replica(), replica()];
    for (const keys of replicas) await keys.refresh();
    events.length = 0;
    clock.pass(31 * day);
    for (let passed = 0; passed < 4; passed++) {
      clock.pass(5000);
      await Promise.all(replicas.map((keys) => keys.refresh()));
    }
    const types = typesOf(events).filter((type) => type !== "key_generated");
    expect(types.sort()).toEqual(["key_published", "key_retired", "key_signing"]);
  });

  test("status tells the keys by state and the time until the next step", async () => {
    const { replica, clock } = fleet();
    const keys = replica();
    expect(keys.status()).toMatchObject({ secondsUntilNextStep: undefined });
    await running(keys, clock);
    expect(keys.status()).toEqual({
      keys: { published: 1, signing: 1, retired: 0, trusted: 0 },
      secondsUntilNextStep: 30 * 86_400 - 10,
    });
  });
});

test("a longer token lifetime is in the ring before the first such token is signed", async () => {
  const { replica, clock, store } = fleet();
  await running(replica(), clock);
  const keys = replica({ tokenSeconds: 100_000 });
  await keys.signingKey();
  expect(store.document).toContain('"tokenSeconds":100000');
});

describe("sealed", () => {
  const [old, current] = [randomBytes(32), randomBytes(32)];

  test("no private key is stored in the clear, and the wrong or no key says so", async () => {
    const { replica, clock, store } = fleet();
    await running(replica({ encryptionKeys: [old] }), clock);
    expect(store.document).not.toContain("pkcs8");
    const { document } = store;
    for (const [encryptionKeys, code] of [
      [[], "missing"],
      [[current], "wrong"],
    ] as const) {
      const error: unknown = await replica({ encryptionKeys })
        .refresh()
        .catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(KeyEncryptionError);
      expect(error).toMatchObject({ code });
    }
    expect(store.document).toBe(document);
    await replica({ signingFileKey: fakeKey(1001) }).refresh();
  });

  test("is changed while replicas run, each of which still signs", async () => {
    const { replica, clock, store, events } = fleet();
    const running_ = await running(replica({ encryptionKeys: [old] }), clock);
    const before = store.document;
    await replica({ encryptionKeys: [current, old] }).refresh();
    expect(store.document).not.toBe(before);
    expect(events.at(-1)).toEqual({ type: "keys_resealed" });
    const { version } = store;
    await replica({ encryptionKeys: [current] }).refresh();
    clock.pass(2000);
    await running_.refresh();
    await running_.signingKey();
    expect(store.version).toBe(version);
  });

  test("from the clear, at the next start", async () => {
    const { replica, clock, store } = fleet();
    await running(replica(), clock);
    expect(store.document).toContain("pkcs8:");
    await replica({ encryptionKeys: [old] }).refresh();
    expect(store.document).not.toContain("pkcs8:");
  });
});

test.each([
  ["", "not JSON"],
  ["{}", "not a key ring"],
  ['{"format":2}', "newer version"],
  [
    '{"format":1,"cacheSeconds":1,"rotateRequested":false,"revoked":[],"keys":[{"kid":"a"}]}',
    "not a key ring",
  ],
])("a damaged store (%s) is told and not overwritten", async (document, message) => {
  const { replica, store } = fleet();
  store.document = document;
  store.version = 7;
  const error: unknown = await replica()
    .refresh()
    .catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(KeyRingError);
  expect((error as Error).message).toContain(message);
  expect(store).toMatchObject({ document, version: 7 });
});

describe("with a key file", () => {
  test("that key signs, and the managed ones stay published until their tokens are gone", async () => {
    const { replica, clock } = fleet();
    const managed = await running(replica(), clock);
    const [signed] = (await publishedKids(managed)) ?? [];
    const keys = replica({ signingFileKey: fakeKey(1001) });
    await keys.refresh();
    expect((await keys.signingKey()).kid).toBe("key-1001");
    expect((await publishedKids(keys))?.slice(0, 2)).toEqual(["key-1001", signed]);
    expect(await keys.verificationKeys(signed)).toMatchObject([{ legacy: false }]);
    await later(keys, clock, 31 * day);
    await later(keys, clock, day);
    expect(await publishedKids(keys)).not.toContain(signed);
    expect(await codeOf(keys.rotate())).toBe("key_file_signs");
    expect(await codeOf(keys.rotateNow())).toBe("key_file_signs");
  });

  test("it is published before the store was ever reached, but not to be cached", async () => {
    const { replica, store } = fleet();
    store.down = true;
    const keys = replica({ signingFileKey: fakeKey(1001) });
    expect((await keys.signingKey()).kid).toBe("key-1001");
    expect(await keys.published()).toMatchObject({ maxAgeSeconds: 0, staleIfErrorSeconds: 0 });
  });
});

describe("an old server's key", () => {
  test("private: published and accepted, and with sign it signs when all can know it", async () => {
    const { replica, clock, events } = fleet();
    const keys = await running(replica(), clock);
    await replica().import({ key: fakeKey(2001), sign: true });
    expect(events.at(-1)).toEqual({ type: "key_imported", kid: "key-2001" });
    await later(keys, clock, 2000);
    expect(await publishedKids(keys)).toContain("key-2001");
    expect(await keys.verificationKeys(undefined)).toMatchObject([{ kid: "key-2001" }]);
    await later(keys, clock, readyMs);
    expect((await keys.signingKey()).kid).toBe("key-2001");
  });

  test("public: accepted and not published, and limited to its issuer", async () => {
    const { replica, clock } = fleet();
    const trusted = { ...fakeKey(2002), issuer: "https://old.example" };
    const keys = await running(replica({ trustedFileKeys: [fakeKey(2003)] }), clock);
    await replica().import({ trusted });
    await later(keys, clock, 2000);
    expect(await publishedKids(keys)).not.toContain("key-2002");
    expect(await keys.verificationKeys("key-2002")).toMatchObject([
      { legacy: true, issuer: "https://old.example" },
    ]);
    const legacy = await keys.verificationKeys(undefined);
    expect(legacy.map((key) => key.kid)).toEqual(["key-2002", "key-2003"]);
    const listing = (await keys.list()).map(({ state, source }) => [state, source]);
    expect(listing).toEqual([
      ["signing", "managed"],
      ["published", "managed"],
      ["trusted", "imported"],
      ["trusted", "file"],
    ]);
  });
});

test("start refreshes by itself until stop", async () => {
  const { replica, store } = fleet();
  const keys = replica();
  keys.start(1);
  while (store.version < 2) await new Promise((resolve) => setTimeout(resolve, 5));
  await keys.stop();
  const { loads } = store;
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(store.loads).toBe(loads);
});
