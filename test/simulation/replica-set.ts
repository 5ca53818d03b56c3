/**
 * A model of a MongoDB replica set of three: an oplog for each member, commit by majority, elections that roll back
 * what no majority has, and a deposed primary that goes on answering for a while. Nothing is lost that a majority
 * has; anything else may be.
 */
import { keyOf, matches, sorted, updated, type Document } from "./documents.js";
import type { Event, World } from "./world.js";

type Fields = Readonly<Record<string, unknown>>;

export interface Read {
  readonly kind: "find";
  readonly collection: string;
  readonly filter: Fields;
  readonly sort?: Fields | undefined;
  readonly limit?: number | undefined;
  /** Whether only what a majority has is read. */
  readonly isMajority: boolean;
  readonly mayBeSecondary: boolean;
}

export type Write = { readonly collection: string; readonly concern: Concern } & (
  | { readonly kind: "insert"; readonly document: Document }
  | {
      readonly kind: "update" | "replace";
      readonly filter: Fields;
      readonly update: Fields;
      readonly isUpsert: boolean;
    }
  | { readonly kind: "delete"; readonly filter: Fields; readonly isMany: boolean }
  /** Such as an index, which the model does not need. */
  | { readonly kind: "noop" }
);

export type Request = Read | Write | { readonly kind: "ping" };

export interface Concern {
  readonly isMajority: boolean;
  readonly timeoutMs: number;
}

type Result = { readonly unconfirmed: boolean } & (
  { readonly matched: number; readonly inserted: boolean } | { readonly code: number }
);

export type Answer =
  | { readonly documents: readonly Document[]; readonly member: Member }
  | { readonly code: number }
  | Result;

interface Entry {
  readonly term: number;
  readonly collection: string;
  readonly key: string;
  readonly before: Document | undefined;
  readonly after: Document | undefined;
}

interface Waiting {
  readonly index: number;
  readonly confirm: () => void;
  readonly stepDown: () => void;
}

const codes = {
  duplicateKey: 11_000,
  notPrimary: 10_107,
  notPrimaryNoSecondaryOk: 13_435,
  steppedDown: 11_602,
} as const;

export class Member {
  readonly index: number;
  isUp = true;
  isPrimary = false;
  term = 0;
  /** How far its clock is ahead. */
  clockMs = 0;
  /** Members of different groups do not reach each other. */
  group = 0;
  /** Added to each step of replication. */
  lagMs = 0;
  readonly log: Entry[] = [];
  /** How many entries a majority has, as far as it knows. */
  committed = 0;
  readonly collections = new Map<string, Map<string, Document>>();
  /** As a primary: how many entries each member has. */
  match: number[] = [];
  waiting: Waiting[] = [];

  constructor(index: number) {
    this.index = index;
  }

  get lastTerm(): number {
    return this.log.at(-1)?.term ?? 0;
  }

  documents(collection: string): Map<string, Document> {
    let documents = this.collections.get(collection);
    if (!documents) this.collections.set(collection, (documents = new Map<string, Document>()));
    return documents;
  }

  append(entry: Entry): void {
    this.log.push(entry);
    this.#put(entry.collection, entry.key, entry.after);
  }

  /** Takes back every entry from `length` on. */
  rollBack(length: number): number {
    let undone = 0;
    for (let entry = this.log.at(-1); entry && this.log.length > length; entry = this.log.at(-1)) {
      this.log.pop();
      this.#put(entry.collection, entry.key, entry.before);
      undone++;
    }
    return undone;
  }

  #put(collection: string, key: string, document: Document | undefined): void {
    if (document) this.documents(collection).set(key, document);
    else this.documents(collection).delete(key);
  }

  /** The documents as a majority has them. */
  majority(collection: string): Map<string, Document> {
    const documents = new Map(this.documents(collection));
    for (let index = this.log.length - 1; index >= this.committed; index--) {
      const entry = this.log[index];
      if (entry?.collection !== collection) continue;
      if (entry.before) documents.set(entry.key, entry.before);
      else documents.delete(entry.key);
    }
    return documents;
  }
}

const electionTimeoutMs = 10_000;
const ttlMs = 60_000;

export class ReplicaSet {
  readonly members = [0, 1, 2].map((index) => new Member(index));
  readonly counts = { elections: 0, rolledBack: 0, staleAnswers: 0, unconfirmed: 0 };
  /** When a deposed primary last answered. */
  staleMs = -Infinity;
  /** Called when a majority has a document's last change. */
  onCommit: (collection: string, document: Document) => void = () => undefined;
  /** Called when a primary begins or ends. */
  onTopology: () => void = () => undefined;
  readonly #world: World;
  #election: Event | undefined;
  readonly #replicating = new Set<string>();

  constructor(world: World) {
    this.#world = world;
    this.#elect();
    world.after(ttlMs, () => this.#expire());
  }

  /** The primary of the latest term. */
  get primary(): Member | undefined {
    const primaries = this.members.filter(({ isPrimary, isUp }) => isPrimary && isUp);
    return primaries.sort((a, b) => b.term - a.term)[0];
  }

  #isDeposed(member: Member): boolean {
    return this.members.some(({ term }) => term > member.term);
  }

  receive(member: Member, request: Request, answer: (answer: Answer) => void): void {
    if (request.kind === "find") answer(this.#read(member, request));
    else if (request.kind === "ping") answer({ documents: [], member });
    else if (member.isPrimary) this.#confirm(member, this.#write(member, request), request, answer);
    else answer({ code: codes.notPrimary });
  }

  #read(member: Member, request: Read): Answer {
    if (!member.isPrimary && !request.mayBeSecondary)
      return { code: codes.notPrimaryNoSecondaryOk };
    // A new primary learns late what a majority has.
    const isNew = member.log[member.committed - 1]?.term !== member.term;
    if (this.#isDeposed(member) || (isNew && request.isMajority)) {
      this.counts.staleAnswers++;
      this.staleMs = this.#world.nowMs;
    }
    return { documents: this.#find(member, request), member };
  }

  /** Answers when a majority has all that is written so far, even if the request wrote nothing. */
  #confirm(
    member: Member,
    result: Result,
    { concern }: Write,
    answer: (answer: Answer) => void,
  ): void {
    const index = member.log.length;
    if (!concern.isMajority || index <= member.committed) {
      answer(result);
      return;
    }
    const end = (outcome: Answer) => {
      timeout.cancel();
      member.waiting = member.waiting.filter((other) => other !== waiting);
      answer(outcome);
    };
    const timeout = this.#world.after(concern.timeoutMs, () => {
      this.counts.unconfirmed++;
      end({ ...result, unconfirmed: true });
    });
    const waiting: Waiting = {
      index,
      confirm: () => end(result),
      stepDown: () => end({ code: codes.steppedDown, unconfirmed: false }),
    };
    member.waiting.push(waiting);
  }

  #find(member: Member, request: Read): Document[] {
    const { collection, filter, sort, limit = Infinity, isMajority } = request;
    const documents = isMajority ? member.majority(collection) : member.documents(collection);
    const ids = isId(filter["_id"]) && [documents.get(keyOf(filter["_id"]))];
    const candidates = ids || [...documents.values()];
    const found = candidates.filter((each) => each !== undefined && matches(each, filter));
    return (sort ? sorted(found as Document[], sort) : (found as Document[])).slice(0, limit);
  }

  #write(member: Member, request: Write): Result {
    const done = (matched: number, inserted = false) => ({ matched, inserted, unconfirmed: false });
    const { collection } = request;
    if (request.kind === "noop") return done(0);
    if (request.kind === "insert") {
      const { document } = request;
      if (member.documents(collection).has(keyOf(document._id)))
        return { code: codes.duplicateKey, unconfirmed: false };
      this.#change(member, collection, document._id, document);
      return done(1, true);
    }
    const { filter } = request;
    const read = {
      kind: "find",
      collection,
      filter,
      isMajority: false,
      mayBeSecondary: false,
    } as const;
    const found = this.#find(member, read);
    if (request.kind === "delete") {
      const removed = request.isMany ? found : found.slice(0, 1);
      for (const { _id } of removed) this.#change(member, collection, _id, undefined);
      return done(removed.length);
    }
    const [first] = found;
    if (first === undefined) {
      if (!request.isUpsert) return done(0);
      const { _id } = filter;
      this.#change(member, collection, _id, updated({ _id }, request.update));
      return done(0, true);
    }
    const after =
      request.kind === "replace"
        ? ({ ...request.update, _id: first._id } as Document)
        : updated(first, request.update);
    this.#change(member, collection, first._id, after);
    return done(1);
  }

  #change(member: Member, collection: string, id: unknown, after: Document | undefined): void {
    const key = keyOf(id);
    const before = member.documents(collection).get(key);
    member.append({ term: member.term, collection, key, before, after });
    this.#spread(member);
  }

  #reach(a: Member, b: Member): boolean {
    return a.isUp && b.isUp && a.group === b.group;
  }

  #spread(primary: Member): void {
    primary.match[primary.index] = primary.log.length;
    for (const member of this.members) if (member !== primary) this.#copyLater(primary, member);
  }

  #copyLater(primary: Member, member: Member): void {
    const link = `${primary.index} ${member.index} ${primary.term}`;
    if (this.#replicating.has(link) || !this.#reach(primary, member)) return;
    this.#replicating.add(link);
    const { term } = primary;
    this.#world.after(this.#world.between(0.3, 2) + member.lagMs, () => {
      this.#replicating.delete(link);
      if (!primary.isPrimary || primary.term !== term || !this.#reach(primary, member)) return;
      if (member.term > term) this.stepDown(primary);
      else this.#copy(primary, member);
    });
  }

  #copy(primary: Member, member: Member): void {
    if (member.isPrimary) this.stepDown(member);
    member.term = primary.term;
    let common = Math.min(member.log.length, primary.log.length);
    while (common > 0 && member.log[common - 1] !== primary.log[common - 1]) common--;
    if (common < member.committed) throw new Error("the model lost what a majority had");
    this.counts.rolledBack += member.rollBack(common);
    for (const entry of primary.log.slice(common)) member.append(entry);
    member.committed = Math.max(member.committed, Math.min(primary.committed, member.log.length));
    primary.match[member.index] = member.log.length;
    this.#commit(primary);
  }

  #commit(primary: Member): void {
    const lengths = this.members
      .map(({ index }) => primary.match[index] ?? 0)
      .sort((a, b) => b - a);
    const length = lengths[1] ?? 0;
    // Entries of earlier terms count only together with one of this term.
    if (length <= primary.committed || primary.log[length - 1]?.term !== primary.term) return;
    const entries = primary.log.slice(primary.committed, length);
    primary.committed = length;
    const last = new Map(entries.map((entry) => [`${entry.collection} ${entry.key}`, entry]));
    for (const { collection, after } of last.values()) if (after) this.onCommit(collection, after);
    for (const waiting of [...primary.waiting]) if (waiting.index <= length) waiting.confirm();
  }

  stepDown(member: Member): void {
    if (!member.isPrimary) return;
    member.isPrimary = false;
    for (const waiting of [...member.waiting]) waiting.stepDown();
    this.onTopology();
    this.#electLater(this.#world.between(100, 1500));
  }

  /** The member stops; what it has is on its disk. */
  crash(member: Member): void {
    member.isUp = false;
    member.isPrimary = false;
    for (const waiting of [...member.waiting]) waiting.stepDown();
    this.onTopology();
    this.#electLater(this.#world.between(0.8, 1.1) * electionTimeoutMs);
  }

  restart(member: Member): void {
    if (member.isUp) return;
    member.isUp = true;
    this.#rejoin();
  }

  /** Cuts a member off. As a primary it goes on for a while, perhaps after another one was elected. */
  isolate(member: Member): void {
    if (this.members.some(({ group }) => group !== 0)) return;
    member.group = 1 + member.index;
    if (!member.isPrimary) return;
    const { term } = member;
    this.#world.after(electionTimeoutMs, () => {
      if (member.term === term && member.group !== 0) this.stepDown(member);
    });
    this.#electLater(this.#world.between(0.7, 1.1) * electionTimeoutMs);
  }

  join(): void {
    for (const member of this.members) member.group = 0;
    this.#rejoin();
  }

  #rejoin(): void {
    const { primary } = this;
    if (primary) this.#spread(primary);
    else this.#electLater(this.#world.between(100, 1500));
  }

  #cancelElection(): void {
    this.#election?.cancel();
    this.#election = undefined;
  }

  #electLater(ms: number): void {
    this.#cancelElection();
    this.#election = this.#world.after(ms, () => this.#elect());
  }

  #elect(): void {
    this.#election = undefined;
    const voters = this.members.filter(
      (each) => this.members.filter((other) => this.#reach(each, other)).length >= 2,
    );
    const latest = voters.reduce((max, { term }) => Math.max(max, term), 0);
    if (voters.some(({ isPrimary, term }) => isPrimary && term === latest)) return;
    const isBehind = (a: Member, b: Member) =>
      a.lastTerm < b.lastTerm || (a.lastTerm === b.lastTerm && a.log.length < b.log.length);
    const candidates = voters.filter(
      (each) => voters.filter((other) => !isBehind(each, other)).length >= 2,
    );
    if (candidates.length === 0) return;
    const elected = this.#world.oneOf(candidates);
    const term = 1 + this.members.reduce((max, each) => Math.max(max, each.term), 0);
    for (const voter of voters) {
      if (voter.isPrimary) this.stepDown(voter);
      voter.term = term;
    }
    this.#cancelElection();
    elected.isPrimary = true;
    elected.match = [];
    elected.append({ term, collection: "", key: "", before: undefined, after: undefined });
    this.counts.elections++;
    this.#spread(elected);
    this.onTopology();
  }

  timeOf(member: Member): number {
    return Math.floor(this.#world.nowMs + member.clockMs);
  }

  /** Removes what has expired, as MongoDB's TTL indexes do. */
  #expire(): void {
    this.#world.after(ttlMs, () => this.#expire());
    const { primary } = this;
    if (!primary) return;
    const nowMs = this.timeOf(primary);
    for (const [collection, documents] of primary.collections) {
      for (const { _id, expiresAt } of documents.values()) {
        if (expiresAt instanceof Date && expiresAt.getTime() < nowMs)
          this.#change(primary, collection, _id, undefined);
      }
    }
  }
}

/** Whether a condition on `_id` is the id itself. */
const isId = (id: unknown) =>
  id !== undefined &&
  !(typeof id === "object" && id !== null && Object.keys(id).some((name) => name.startsWith("$")));
