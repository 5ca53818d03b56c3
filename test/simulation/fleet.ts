/**
 * A fleet of Latchkey over one replica set, with callers, guessers, verifiers and an operator, through the events of
 * a schedule. Holds the laws at every step, and records the first that is broken.
 */
import { AuthError } from "../../src/auth/errors.js";
import { KeyOperationError } from "../../src/auth/keys/keys.js";
import { Throttled } from "../../src/auth/throttle/throttle.js";
import { connectTo, fair, type Network, type Weather } from "./driver.js";
import { keyOf, type Document } from "./documents.js";
import {
  createKeys,
  leewaySeconds,
  limits,
  openStore,
  startLatchkey,
  type LatchkeyProcess,
} from "./latchkey.js";
import { ReplicaSet } from "./replica-set.js";
import type { Happening, Schedule } from "./schedule.js";
import { fetchFrom, KitVerifier, ObedientVerifier, type Server } from "./verifiers.js";
import { enter, Machine, World } from "./world.js";

const second = 1000;
const minute = 60 * second;

interface Replica {
  machine: Machine;
  process: LatchkeyProcess | undefined;
  hashMs: readonly [number, number];
}

interface UserState {
  readonly id: number;
  readonly name: string;
  readonly home: string;
  /** What the stored secret may be: several while a change is under way or its outcome is unknown. */
  secrets: Set<string>;
  /** The secrets that an acknowledged change has replaced. */
  readonly replaced: Set<string>;
  mayBeDisabled: boolean;
  mustBeDisabled: boolean;
  /** Tokens with an `iat` of at most this, in milliseconds, are revoked, and since when all know it. */
  revokedMs: number;
  revokedAtMs: number;
  /** Whether a revocation may have been stored that was not acknowledged. */
  mayBeRevokedMs: number;
}

interface Attempt {
  readonly id: string;
  readonly user: UserState | undefined;
  readonly name: string;
  readonly network: string;
  readonly isRight: boolean;
  readonly machine: Machine;
  readonly startMs: number;
  evaluatedMs?: number;
  isExcused?: boolean;
  outcome?: string;
}

interface Token {
  readonly text: string;
  readonly kid: string;
  readonly user: UserState;
  readonly iat: number;
  readonly exp: number;
}

export const replicaCount = 3;
export const memberCount = 3;
export const userCount = 4;
export const networkCount = 6;

export class Fleet {
  readonly world: World;
  readonly set: ReplicaSet;
  readonly #schedule: Schedule;
  readonly #weather: Weather = { ...fair };
  readonly #network: Network;
  readonly #replicas: Replica[];
  readonly #commands: (() => void)[] = [];
  readonly #users: UserState[];
  readonly #obedient: ObedientVerifier[];
  readonly #kit: KitVerifier[];
  readonly #attempts = new Map<string, Attempt>();
  readonly #tokens: Token[] = [];
  #revokedKids = new Set<string>();
  /** Keys that began to sign before every verifier could know them, as a revocation makes them. */
  readonly #hurried = new Set<string>();
  readonly #signing: { readonly atMs: number; readonly kid: string }[] = [];
  #next = 0;
  /** Faults that are present, and when the last one ended. */
  #faults = 0;
  #faultEndMs = -Infinity;
  #windows = 1;
  #clocksJumped = false;
  readonly counts = {
    attempts: 0,
    evaluated: 0,
    tokens: 0,
    verified: 0,
    revoked: 0,
    kills: 0,
    rotations: 0,
  };
  broken: string | undefined;

  constructor(schedule: Schedule) {
    this.#schedule = schedule;
    this.world = new World(schedule.seed);
    enter(this.world);
    this.set = new ReplicaSet(this.world);
    const counts = { lostAnswers: 0, late: 0 };
    this.#network = { set: this.set, weather: this.#weather, clients: new Set(), counts };
    connectTo(this.#network);
    this.set.onTopology = () => {
      this.#clockMayJump();
      for (const client of this.#network.clients) {
        if (client.machine.isAlive) client.lookSoon();
        else this.#network.clients.delete(client);
      }
    };
    this.set.onCommit = (collection, document) => {
      if (collection === "latchkey_keys" && document._id === "keys") this.#seeRing(document);
    };
    this.#users = Array.from({ length: userCount }, (_, index) => this.#newUser(index + 1));
    this.#replicas = Array.from({ length: replicaCount }, (_, index) => ({
      machine: new Machine(this.world, `replica ${index}`),
      process: undefined,
      hashMs: [20, 60],
    }));
    const servers = () => this.#replicas.flatMap((replica) => this.#serverOf(replica));
    const newMachine = (name: string) =>
      new Machine(this.world, name, this.world.between(-schedule.skewMs, schedule.skewMs));
    const verifier = <T>(
      make: (machine: Machine, fetch: ReturnType<typeof fetchFrom>) => T,
      name: string,
    ) => {
      const machine = newMachine(name);
      return make(machine, fetchFrom(this.world, machine, servers));
    };
    this.#obedient = [0, 1, 2].map((i) =>
      verifier((m, f) => new ObedientVerifier(m, f), `verifier ${i}`),
    );
    this.#kit = [0, 1].map((i) => verifier((m, f) => new KitVerifier(m, f), `kit ${i}`));
  }

  /** Runs the schedule, then waits until everything is whole, and looks at what is left. */
  async run(): Promise<string | undefined> {
    const startMs = this.world.nowMs;
    await this.#until(startMs + 5 * second);
    for (const replica of this.#replicas) this.#start(replica);
    await this.#until(this.world.nowMs + 20);
    // The first logins find a store that every replica has just begun to fill.
    for (const user of this.#users)
      this.#attempt({ replica: user.id % replicaCount, user, network: user.home, isRight: true });
    await this.#until(this.world.nowMs + 5 * second);
    for (const user of this.#users) {
      this.#attempt({ replica: user.id % replicaCount, user, network: user.home, isRight: true });
      await this.#until(this.world.nowMs + second);
    }
    const beginMs = this.world.nowMs;
    for (const happening of this.#schedule.happenings)
      this.world.after(happening.atMs, () => this.#happen(happening));
    await this.#until(beginMs + this.#schedule.lengthMs);
    await this.#until(Math.max(this.world.nowMs, this.#faultEndMs));
    this.#heal();
    await this.#until(this.world.nowMs + 100 * second);
    if (!this.broken) await this.#holdTheEnd();
    enter(undefined);
    connectTo(undefined);
    return this.broken;
  }

  #until(ms: number): Promise<void> {
    return this.world.run(ms, () => this.broken !== undefined);
  }

  #break(law: string): void {
    const at = ((this.world.nowMs - Date.UTC(2030, 0, 1)) / second).toFixed(3);
    this.broken ??= `${at} s: ${law}`;
  }

  // Replicas

  #start(replica: Replica): void {
    const { machine } = replica;
    machine.run(() => {
      replica.process = startLatchkey({
        hashMs: () => this.world.between(...replica.hashMs),
        pollMs: this.#schedule.pollMs,
        onCheck: (password) => this.#evaluated(password),
        onAttempt: () => undefined,
      });
    });
  }

  /** Stops a process between two steps, and starts another one later. */
  #kill(replica: Replica, downMs: number): void {
    if (!replica.process) return;
    this.counts.kills++;
    const { name, skewMs, driftMs } = replica.machine;
    replica.machine.isAlive = false;
    replica.process = undefined;
    this.world.after(downMs, () => {
      replica.machine = new Machine(this.world, name, skewMs);
      replica.machine.driftMs = driftMs;
      this.#start(replica);
      // Callers do not wait until it is ready.
      this.world.after(this.world.random() * second, () =>
        this.#renew(this.world.oneOf(this.#tokens.slice(-10)), replica),
      );
    });
  }

  #serverOf({ machine, process }: Replica): Server[] {
    if (!process || !machine.isAlive) return [];
    const { keySet, revocations } = process;
    return [
      { machine, route: (url) => [keySet, revocations].find(({ path }) => url.endsWith(path)) },
    ];
  }

  // Faults

  /** A fault that ends by itself. Afterwards it may take `aftermathMs` until everything is well again. */
  #fault(ms: number, end: () => void, aftermathMs = 0): void {
    this.#faults++;
    this.#faultEndMs = Math.max(this.#faultEndMs, this.world.nowMs + ms);
    this.world.after(ms, () => {
      end();
      this.#faults--;
      this.#troubleMs = Math.max(this.#troubleMs, this.world.nowMs + aftermathMs);
    });
  }

  #heal(): void {
    Object.assign(this.#weather, fair);
    for (const member of this.set.members) {
      this.set.restart(member);
      member.lagMs = 0;
    }
    this.set.join();
    for (const { machine } of this.#replicas) machine.unreachable.clear();
  }

  #happen({ kind, a, b, ms }: Happening): void {
    const replica = this.#replicas[Math.floor(a * replicaCount)] as Replica;
    const { machine } = replica;
    const primary = this.set.primary;
    const member = b < 0.6 && primary ? primary : this.set.members[Math.floor(b * memberCount)];
    const user = this.#users[Math.floor(b * userCount)] as UserState;
    if (!member) return;
    switch (kind) {
      case "stepDown":
        this.#fault(1, () => this.set.stepDown(member));
        break;
      case "crash":
        this.set.crash(member);
        this.#fault(ms, () => this.set.restart(member));
        break;
      case "isolate":
        this.set.isolate(member);
        for (const other of this.#replicas) {
          // Some replicas are on the member's side, some on the other, some reach both.
          const side = this.world.random();
          const lost = this.set.members.filter((each) =>
            side < 0.3 ? each !== member : side < 0.6 && each === member,
          );
          for (const { index } of lost) other.machine.unreachable.add(index);
        }
        this.#fault(ms, () => {
          this.set.join();
          for (const other of this.#replicas) other.machine.unreachable.clear();
        });
        break;
      case "lag":
        member.lagMs = a < 0.5 ? 500 : 3000;
        this.#fault(ms, () => (member.lagMs = 0));
        break;
      case "weather":
        Object.assign(this.#weather, {
          ...{
            lostRequests: a * 0.2,
            lostAnswers: b * 0.3,
            silent: 0.5,
            late: 0.1,
            lateMsMax: 6000,
          },
        });
        this.#fault(ms, () => Object.assign(this.#weather, fair));
        break;
      case "cutOff":
        machine.unreachable.add(member.index);
        this.#fault(ms, () => machine.unreachable.clear());
        break;
      case "memberClock": {
        const jumpMs = b < 0.3 ? 6 * 60 * minute : (a - 0.5) * 4 * second;
        if (jumpMs > minute) this.#clocksJumped = true;
        member.clockMs = jumpMs;
        this.#clockMayJump();
        this.#fault(
          ms,
          () => {
            member.clockMs = 0;
            this.#clockMayJump();
          },
          minute,
        );
        break;
      }
      case "replicaClock":
        machine.skewMs = (b - 0.5) * 2 * this.#schedule.skewMs;
        break;
      case "drift":
        machine.driftMs = (b - 0.5) * 0.2;
        break;
      case "freeze":
        machine.frozenUntilMs = this.world.nowMs + ms;
        if (b < 0.3) machine.sleptMs += ms;
        this.#fault(ms, () => undefined, 35 * second);
        break;
      case "kill":
        this.#kill(replica, ms / 4);
        this.#fault(ms / 4, () => undefined, 35 * second);
        break;
      case "slowHashes":
        replica.hashMs = [1 * second, 25 * second];
        this.#fault(ms, () => (replica.hashMs = [20, 60]), minute);
        break;
      case "guesses":
        this.#guess(user, a, b, ms);
        break;
      case "crowd":
        for (let i = 0; i < 5 + a * 15; i++)
          this.#attempt({ replica: i % replicaCount, user, network: user.home, isRight: true });
        break;
      case "visit":
        this.#attempt({
          replica: Math.floor(a * replicaCount),
          user,
          network: networkOf(a),
          isRight: true,
        });
        break;
      case "renew":
        for (let i = 0; i < 3; i++) this.#renew(this.world.oneOf(this.#tokens.slice(-40)));
        break;
      case "rotate":
        this.#command((_, keys) => keys.rotate().then(() => undefined));
        break;
      case "revokeKey":
        this.#revokeKey();
        break;
      case "revoke":
        this.#revoke(user, {});
        break;
      case "passwd": {
        const [secret = ""] = user.secrets;
        const next = `${user.name}-${Math.floor(a * 1e6)}`;
        if (user.secrets.size === 1 && next !== secret) this.#revoke(user, { passwordHash: next });
        break;
      }
      case "disable":
        this.#disable(user, ms);
    }
  }

  #troubleMs = 0;

  /** Until every replica has heard the new time, they forget each other's counts. */
  #clockMayJump(): void {
    if (!this.#clocksJumped) return;
    this.#windows++;
    this.#clocksDifferUntilMs = this.world.nowMs + 12 * second;
  }

  #clocksDifferUntilMs = 0;

  /** Whether nothing has failed since then, or a little before. */
  #isCalmSince(ms: number): boolean {
    return (
      this.#faults === 0 && this.set.primary !== undefined && this.#troubleMs < ms - 12 * second
    );
  }

  // Logins

  #guess(user: UserState, a: number, b: number, ms: number): void {
    // Now and then somebody at the user's own network, now and then at names of nobody.
    const network = a < 0.1 ? user.home : networkOf(a);
    const count = ms % 3 === 0 ? 30 : 1 + Math.floor(b * 8);
    for (let i = 0; i < count; i++) {
      const isNobody = ms % 7 === 0;
      const old = [...user.replaced].at(-1);
      this.#attempt({
        ...{ replica: (i + count) % replicaCount, user: isNobody ? undefined : user, network },
        ...{ isRight: false, name: `nobody ${i % 3}`, secret: i % 4 === 0 ? old : undefined },
      });
    }
  }

  #attempt(options: {
    readonly replica: number;
    readonly user: UserState | undefined;
    readonly network: string;
    readonly isRight: boolean;
    readonly name?: string;
    readonly secret?: string | undefined;
  }): void {
    const { user, network, isRight, secret = "wrong" } = options;
    const { machine, process } = this.#replicas[options.replica] as Replica;
    if (!process) return;
    const name = user?.name ?? options.name ?? "";
    const id = `${++this.#next}`;
    this.counts.attempts++;
    machine.run(
      () => {
        const startMs = this.world.nowMs;
        const secrets = [...(user?.secrets ?? [])];
        const attempt: Attempt = { id, user, name, network, isRight, machine, startMs };
        this.#attempts.set(id, attempt);
        const isCertain = () =>
          user !== undefined &&
          !user.mayBeDisabled &&
          user.secrets.size === 1 &&
          user.secrets.has(secrets[0] ?? "");
        const wasCertain = isCertain();
        const { staleAnswers } = this.set.counts;
        const patience = new AbortController();
        if (this.world.chance(0.1))
          setTimeout(() => patience.abort(new Error("gone")), this.world.between(1, 3 * second));
        const details = { surface: "rest_login" as const, clientNetwork: network, requestId: id };
        const password = `${isRight ? (secrets[0] ?? "") : secret}#${id}`;
        process.service.login(name, password, { ...details, signal: patience.signal }).then(
          ({ accessToken }) => {
            attempt.outcome = "accepted";
            const isStale = staleAnswers !== this.set.counts.staleAnswers;
            if (!isRight && !isStale) this.#break(`${name} was accepted with a wrong password`);
            if (user) this.#issued(accessToken, user);
          },
          (error: unknown) => {
            attempt.outcome = error instanceof AuthError ? error.code : (error as Error).message;
            const isStale = staleAnswers !== this.set.counts.staleAnswers;
            if (isRight && wasCertain && isCertain() && !isStale)
              this.#holdFairness(attempt, error);
          },
        );
      },
      this.world.between(0.2, 2),
    );
  }

  /** What may be answered to a right password, beside a token. */
  #holdFairness({ name, network, startMs, user }: Attempt, error: unknown): void {
    const who = `the right password of ${name} from ${network === user?.home ? "home" : network}`;
    if (error instanceof Throttled) {
      const { scope, retryAfterSeconds = Infinity } = error;
      if (retryAfterSeconds > 60) this.#break(`${who} is told to wait ${retryAfterSeconds} s`);
      const ofPair = this.#failures((each) => each.name === name && each.network === network);
      if (this.#trusted.has(`${name} ${network}`) && ofPair.length < limits.failures)
        this.#break(`${who} is refused by ${scope} although it is trusted`);
      const ofUser = this.#failures((each) => each.name === name);
      const ofNetwork = this.#failures((each) => each.network === network);
      const isJustified =
        ofPair.length >= limits.failures ||
        ofUser.length >= limits.userFailures ||
        ofNetwork.length >= limits.networkFailures;
      const lastMs = Math.max(
        ...[...ofUser, ...ofNetwork].map(({ evaluatedMs = 0 }) => evaluatedMs),
      );
      const isRecent =
        lastMs > this.world.nowMs - 66 * second || !this.#isCalmSince(startMs - 60 * second);
      if (!isJustified || !(isRecent || this.#clocksJumped))
        this.#break(`${who} is refused by ${scope}`);
      return;
    }
    const code = error instanceof AuthError ? error.code : "fault";
    if (code === "invalid_credentials") this.#break(`${who} is answered as wrong`);
    if (code === "internal" || (code === "fault" && (error as Error).message !== "gone"))
      this.#break(`${who} meets ${String(error)}`);
    if (code === "store_unavailable" && this.#isCalmSince(startMs))
      this.#break(`${who} meets ${String(error)}`);
  }

  /** What may have been counted. A right password is wrong while it is being changed. */
  #failures(which: (attempt: Attempt) => boolean): Attempt[] {
    return [...this.#attempts.values()].filter(
      (each) =>
        each.evaluatedMs !== undefined &&
        !(each.isRight && each.outcome === "accepted") &&
        which(each),
    );
  }

  #guesses(which: (attempt: Attempt) => boolean): Attempt[] {
    // What a killed replica checked and never told is of no use to a guesser.
    return [...this.#attempts.values()].filter(
      (each) =>
        !each.isRight &&
        each.evaluatedMs !== undefined &&
        !each.isExcused &&
        (each.machine.isAlive || each.outcome !== undefined) &&
        which(each),
    );
  }

  readonly #trusted = new Set<string>();

  #evaluated(password: string): void {
    const attempt = this.#attempts.get(password.slice(password.lastIndexOf("#") + 1));
    if (!attempt) return;
    attempt.evaluatedMs = this.world.nowMs;
    const { name, network, isRight } = attempt;
    this.counts.evaluated++;
    attempt.isExcused = this.world.nowMs < this.#clocksDifferUntilMs;
    if (isRight) {
      this.#mayTrust.add(`${name} ${network}`);
      return;
    }
    const ofNetwork = this.#guesses((each) => each.network === network);
    const ofUser = this.#guesses(
      (each) => each.name === name && !this.#mayTrust.has(`${name} ${each.network}`),
    );
    const trusting = [...this.#mayTrust].filter((pair) => pair.endsWith(` ${network}`)).length;
    this.#holdBound(
      `of ${name} from ${network}`,
      ofNetwork.filter((each) => each.name === name),
      limits.failures,
    );
    this.#holdBound(`of ${name}`, ofUser, limits.userFailures);
    this.#holdBound(
      `from ${network}`,
      ofNetwork,
      limits.networkFailures + trusting * limits.failures,
    );
  }

  readonly #mayTrust = new Set<string>();

  /** At most twice the limit in a window, and one a minute. */
  #holdBound(what: string, guesses: readonly Attempt[], limit: number): void {
    const [first] = guesses;
    if (!first) return;
    const elapsedMs = this.world.nowMs - first.startMs;
    const windows = this.#windows + Math.floor(elapsedMs / (limits.windowSeconds * second));
    const most = windows * 2 * limit + Math.ceil(elapsedMs / minute);
    if (guesses.length > most)
      this.#break(`${guesses.length} guesses ${what} were evaluated, and ${most} may be`);
  }

  // Tokens

  #issued(text: string, user: UserState): void {
    const machine = this.world.current;
    const [header = "", claims = ""] = text.split(".");
    const { kid } = decode(header) as { kid: string };
    const { iat, exp } = decode(claims) as { iat: number; exp: number };
    const token = { text, kid, user, iat, exp };
    this.#tokens.push(token);
    this.counts.tokens++;
    this.#holdSigning(kid, machine);
    const began = this.#signing.at(-1);
    const isNew = began?.kid === kid && this.world.nowMs < began.atMs + 3 * second;
    if (isNew) for (const verifier of this.#obedient) this.#show(token, verifier);
    const endMs = exp * second - this.world.nowMs;
    for (const afterMs of [
      this.world.random() * endMs,
      endMs - this.#schedule.skewMs + leewaySeconds * second - 50,
    ])
      this.world.after(afterMs, () => this.#show(token, this.world.oneOf(this.#obedient)));
    this.world.after(this.world.random() * Math.min(endMs, 30 * second), () =>
      this.#showToKit(token),
    );
  }

  /** A key signs in its state alone, and for a second after it. */
  #holdSigning(kid: string, machine: Machine | undefined): void {
    const sinceMs = this.world.nowMs - 1050;
    if (this.set.staleMs > sinceMs) return;
    const before = this.#signing.findLast(({ atMs }) => atMs <= sinceMs);
    const now = this.#signing.filter(({ atMs }) => atMs > sinceMs);
    if (before?.kid !== kid && !now.some((each) => each.kid === kid))
      this.#break(
        `${machine?.name ?? ""} signs with ${kid.slice(0, 6)}, which is not the signing key`,
      );
  }

  #seeRing(document: Document): void {
    const ring = JSON.parse(String(document["document"])) as {
      keys: { kid: string; state: string; since: number; readyAt: number }[];
    };
    const signing = ring.keys.filter(({ state }) => state === "signing");
    if (signing.length > 1) this.#break("two keys sign");
    const [key] = signing;
    const last = this.#signing.at(-1);
    if (!key || key.kid === last?.kid) return;
    this.#signing.push({ atMs: this.world.nowMs, kid: key.kid });
    this.counts.rotations++;
    if (key.since < key.readyAt && last) this.#hurried.add(key.kid);
  }

  #show({ text, kid, exp }: Token, verifier: ObedientVerifier): void {
    const { machine } = verifier;
    machine.run(() => {
      void verifier.accepts(text, kid).then((isAccepted) => {
        this.counts.verified++;
        const isLive = machine.wall() <= (exp + leewaySeconds) * second;
        const isExcused = this.#revokedKids.has(kid) || this.#hurried.has(kid);
        if (isAccepted === false && isLive && !isExcused)
          this.#break(`${machine.name} refuses a good token by ${kid.slice(0, 6)}`);
      });
    });
  }

  #showToKit({ text, kid, user, iat, exp }: Token): void {
    const verifier = this.world.oneOf(this.#kit);
    const { machine } = verifier;
    machine.run(() => {
      void verifier.verdict(text).then((verdict) => {
        this.counts.verified++;
        const { nowMs } = this.world;
        const isLive = machine.wall() <= (exp + leewaySeconds) * second;
        const mayBeRevoked = user.mayBeRevokedMs >= iat * second || this.#revokedKids.has(kid);
        // While the list cannot be read again, an older one is good for a minute.
        const patienceMs = this.#isCalmSince(nowMs - 11 * second) ? 10 * second : 75 * second;
        const isRevoked = user.revokedMs >= iat * second && nowMs >= user.revokedAtMs + patienceMs;
        if (verdict === "accepted" && isRevoked)
          this.#break(`${machine.name} accepts a revoked token of ${user.name}`);
        if (verdict === "revoked" && !mayBeRevoked)
          this.#break(`${machine.name} takes a good token for revoked`);
        const isOutage = verdict.endsWith("_unavailable") || verdict === "not_yet_valid";
        const isGood = ["accepted", "revoked", "expired"].includes(verdict) || isOutage;
        const isExcused = this.#revokedKids.has(kid) || this.#hurried.has(kid);
        if (!isGood && isLive && !isExcused)
          this.#break(`${machine.name} refuses a good token: ${verdict}`);
      });
    });
  }

  #renew(token: Token | undefined, replica = this.world.oneOf(this.#replicas)): void {
    if (!token || !replica.process) return;
    const { machine, process } = replica;
    const { user, iat, kid, exp } = token;
    machine.run(() => {
      const startMs = this.world.nowMs;
      const { staleAnswers } = this.set.counts;
      const details = { surface: "rest_token" as const, clientNetwork: user.home, requestId: "" };
      process.service.issueToken(`Bearer ${token.text}`, { ...details, signal: undefined }).then(
        ({ accessToken }) => {
          const isStale = staleAnswers !== this.set.counts.staleAnswers;
          const isRevoked = user.revokedMs >= iat * second && startMs >= user.revokedAtMs;
          if (isRevoked && !isStale)
            this.#break(`${machine.name} renews a revoked token of ${user.name}`);
          this.#issued(accessToken, user);
        },
        (error: unknown) => {
          const { code } = error as AuthError;
          const wall = machine.wall() / second;
          const isInTime = wall < exp + leewaySeconds - 1 && wall > iat;
          const mayBeRevoked = user.mayBeRevokedMs >= iat * second || this.#revokedKids.has(kid);
          if (code === "token_invalid" && isInTime && !mayBeRevoked && !user.mayBeDisabled)
            this.#break(`${machine.name} does not renew a good token: ${String(error)}`);
          if (code === "store_unavailable" && this.#isCalmSince(startMs))
            this.#break(`a renewal meets ${String(error)}`);
        },
      );
    });
  }

  // The operator

  /** Gives commands one after the other, each again and again until it is acknowledged. */
  #command(
    work: (
      store: ReturnType<typeof openStore>,
      keys: ReturnType<typeof createKeys>,
    ) => Promise<void>,
    onDone = (): void => undefined,
  ): void {
    const next = () => {
      this.#commands.shift();
      this.#commands[0]?.();
    };
    const give = () => {
      const machine = new Machine(this.world, "command");
      // Users are not changed by compare-and-set: an update that came late would undo a later one.
      machine.isPunctual = true;
      machine.run(() => {
        const store = openStore();
        work(store, createKeys(store)).then(
          () => {
            machine.isAlive = false;
            onDone();
            next();
          },
          (error: unknown) => {
            machine.isAlive = false;
            if (error instanceof AuthError && error.code === "store_unavailable")
              this.world.after(second, give);
            else this.#break(`a command meets ${String(error)}`);
          },
        );
      });
    };
    this.#commands.push(give);
    if (this.#commands.length === 1) give();
  }

  /** As `users revoke` and `users passwd` do. */
  #revoke(user: UserState, change: { readonly passwordHash?: string }): void {
    const { passwordHash } = change;
    const id = { type: "int", value: String(user.id) } as const;
    const before = [...user.secrets];
    if (passwordHash) user.secrets.add(passwordHash);
    let timeMs = 0;
    const update = async ({ users }: ReturnType<typeof openStore>, more: object) => {
      timeMs = Date.now();
      user.mayBeRevokedMs = Math.max(user.mayBeRevokedMs, timeMs);
      await users.update(id, { ...more, tokensValidAfter: new Date(timeMs) });
    };
    const isNextSecond = () => Math.floor(Date.now() / second) > Math.floor(timeMs / second);
    const done = () => {
      this.counts.revoked++;
      user.revokedMs = Math.max(user.revokedMs, timeMs);
      user.revokedAtMs = this.world.nowMs;
      if (!passwordHash) return;
      user.secrets = new Set([passwordHash]);
      for (const secret of before) user.replaced.add(secret);
    };
    this.#command(async (store) => {
      await update(store, change);
      if (isNextSecond()) await update(store, {});
      await new Promise((resolve) => {
        setTimeout(resolve, second - (timeMs % second));
      });
    }, done);
  }

  #disable(user: UserState, ms: number): void {
    if (user.mayBeDisabled) return;
    const id = { type: "int", value: String(user.id) } as const;
    user.mayBeDisabled = true;
    user.mayBeRevokedMs = Infinity;
    const set = (disabled: boolean, onDone: () => void) =>
      this.#command(async ({ users }) => {
        await users.update(id, { disabled });
      }, onDone);
    const enabled = () => {
      this.world.after(15 * second, () => {
        user.mayBeDisabled = false;
        user.mayBeRevokedMs = this.world.nowMs + this.#schedule.skewMs;
      });
    };
    set(true, () => this.world.after(ms / 4, () => set(false, enabled)));
  }

  #revokeKey(): void {
    const kid = this.#signing.at(-1)?.kid;
    if (kid === undefined || this.#revokedKids.size > 3) return;
    this.#revokedKids.add(kid);
    this.#command(async (_, keys) => {
      try {
        await keys.revoke(kid);
        this.#keysRevoked.add(kid);
      } catch (error) {
        // An election may have taken the key back.
        if (!(error instanceof KeyOperationError)) throw error;
      }
    });
  }

  readonly #keysRevoked = new Set<string>();

  #newUser(id: number): UserState {
    const name = ["", "ann", "bob", "cy", "dee"][id] ?? `user ${id}`;
    const document = { _id: id, username: name, passwordHash: `${name}-0` };
    this.world.after(3 * second, () => {
      const { primary } = this.set;
      if (!primary) throw new Error("no primary at the start");
      const concern = { isMajority: true, timeoutMs: second };
      this.set.receive(
        primary,
        { kind: "insert", collection: "users", document, concern },
        () => undefined,
      );
    });
    return {
      ...{
        id,
        name,
        home: `192.0.2.${id}`,
        secrets: new Set([document.passwordHash]),
        replaced: new Set(),
      },
      ...{ mayBeDisabled: false, mustBeDisabled: false },
      ...{ revokedMs: -Infinity, revokedAtMs: Infinity, mayBeRevokedMs: -Infinity },
    };
  }

  // The end

  /** Nothing that was acknowledged is lost, and nothing is counted that was not evaluated. */
  async #holdTheEnd(): Promise<void> {
    const { primary } = this.set;
    if (!primary) {
      this.#break("no primary was elected");
      return;
    }
    for (const { outcome, machine, name } of this.#attempts.values())
      if (outcome === undefined && machine.isAlive)
        this.#break(`a login of ${name} was never answered`);
    const users = primary.majority("users");
    for (const { id, name, secrets, revokedMs, mayBeDisabled } of this.#users) {
      const stored = users.get(keyOf(id));
      if (!stored) {
        this.#break(`${name} is lost`);
        return;
      }
      if (!secrets.has(String(stored["passwordHash"])))
        this.#break(`the new password of ${name} is lost`);
      const validAfter = stored["tokensValidAfter"] as Date | undefined;
      if ((validAfter?.getTime() ?? -Infinity) < revokedMs)
        this.#break(`the revocation of ${name} is lost`);
      if (stored["disabled"] === true && !mayBeDisabled) this.#break(`${name} is disabled again`);
    }
    const ring = JSON.stringify(primary.majority("latchkey_keys").get(keyOf("keys")) ?? "");
    for (const kid of this.#keysRevoked)
      if (!new RegExp(`revoked.*${kid}`).test(ring))
        this.#break(`the revocation of the key ${kid} is lost`);
    this.#holdCounts(primary.majority("latchkey_throttle"));
    // A minute later everybody gets in, from anywhere.
    for (const user of this.#users) {
      if (user.mayBeDisabled || user.secrets.size > 1) continue;
      for (const [replica, { process }] of this.#replicas.entries()) {
        if (!process) {
          this.#break("a replica did not come back");
          return;
        }
        const network = replica === 0 ? user.home : `203.0.113.${replica}`;
        this.#attempt({ replica, user, network, isRight: true });
        const { id } = { id: `${this.#next}` };
        await this.#until(this.world.nowMs + 5 * second);
        const { outcome } = this.#attempts.get(id) ?? {};
        if (outcome !== "accepted" && outcome !== "gone")
          this.#break(`${user.name} is answered ${String(outcome)} after the end`);
      }
    }
  }

  #holdCounts(records: ReadonlyMap<string, Document>): void {
    if (this.#clocksJumped || this.#schedule.lengthMs > (limits.windowSeconds / 2) * second) return;
    for (const { name } of this.#users) {
      const evaluated = this.#failures((each) => each.name === name);
      const told = evaluated.filter(({ outcome }) => outcome === "invalid_credentials");
      let counted = 0;
      for (const { _id, document } of records.values()) {
        if (!String(_id).startsWith("user:")) continue;
        const { label, counters } = JSON.parse(String(document)) as {
          label?: string;
          counters: Record<string, { failures: number }>;
        };
        if (label !== name) continue;
        for (const [counter, { failures }] of Object.entries(counters))
          if (counter === "all" || counter.startsWith("trusted:")) counted += failures;
      }
      if (counted < told.length)
        this.#break(`${told.length} wrong passwords of ${name} were told, ${counted} counted`);
      if (counted > evaluated.length)
        this.#break(
          `${evaluated.length} wrong passwords of ${name} were evaluated, ${counted} counted`,
        );
    }
  }
}

const networkOf = (a: number) => `198.51.100.${Math.floor(a * 997) % networkCount}`;
const decode = (part: string): unknown => JSON.parse(Buffer.from(part, "base64url").toString());
