/**
 * A model of the driver's client, on the machine that opens it: it looks for the primary, and its requests and
 * answers may be late, be lost, or arrive when nobody waits for them any more. Only what Latchkey's stores call.
 */
import {
  MongoNetworkError,
  MongoNetworkTimeoutError,
  MongoServerError,
  MongoServerSelectionError,
  MongoWriteConcernError,
} from "mongodb";
import type { Document } from "./documents.js";
import type { Answer, Concern, Member, ReplicaSet, Request } from "./replica-set.js";
import { present, type Event, type Machine, type World } from "./world.js";

/** What may happen to each request at present. */
export interface Weather {
  /** Probabilities. */
  lostRequests: number;
  lostAnswers: number;
  /** Whether the loss is noticed only by a time-out. */
  silent: number;
  late: number;
  lateMsMax: number;
}

export const fair: Readonly<Weather> = {
  lostRequests: 0,
  lostAnswers: 0,
  silent: 0,
  late: 0,
  lateMsMax: 0,
};

export interface Network {
  readonly set: ReplicaSet;
  readonly weather: Weather;
  readonly clients: Set<ModelClient>;
  readonly counts: { lostAnswers: number; late: number };
}

let network: Network | undefined;

export function connectTo(next: Network | undefined): void {
  network = next;
}

interface ClientOptions {
  readonly readPreference?: string;
  readonly writeConcern?: { readonly w?: string | number; readonly wtimeoutMS?: number };
  readonly serverSelectionTimeoutMS?: number;
  readonly socketTimeoutMS?: number;
  readonly retryWrites?: boolean;
}

interface Heartbeat {
  readonly reply: Readonly<Record<string, unknown>>;
}

const heartbeatMs = 10_000;
const heartbeatMsMin = 500;
const hopMs = [0.2, 1.5] as const;
/** Errors after which the driver looks for the primary anew. */
const stateChanges: readonly number[] = [10_107, 13_435, 11_602, 189, 91];

export class ModelClient {
  readonly options: ClientOptions;
  readonly machine: Machine;
  readonly #world: World;
  readonly #network: Network;
  #primary: Member | undefined;
  #termSeen = 0;
  readonly #listeners: ((event: Heartbeat) => void)[] = [];
  #waiting: { readonly resolve: (member: Member) => void; readonly timeout: Event }[] = [];
  #check: Event | undefined;
  #isOpen = false;

  constructor(_uri: string, options: ClientOptions = {}) {
    this.#world = present();
    if (!network || !this.#world.current) throw new Error("a client is opened on a machine");
    this.#network = network;
    this.machine = this.#world.current;
    this.options = options;
    if (options.retryWrites !== false) throw new Error("the model does not retry writes");
    network.clients.add(this);
  }

  on(name: string, listener: (event: Heartbeat) => void): this {
    if (name !== "serverHeartbeatSucceeded") throw new Error(`the model has no event ${name}`);
    this.#listeners.push(listener);
    return this;
  }

  db() {
    return {
      collection: (name: string) => new ModelCollection(this, name),
      command: (command: Readonly<Record<string, unknown>>) => {
        if (command["ping"] !== 1) throw new Error("the model has no such command");
        return this.send({ kind: "ping" });
      },
    };
  }

  async connect(): Promise<this> {
    this.#isOpen = true;
    this.lookSoon();
    await this.#selectPrimary();
    return this;
  }

  close(): Promise<void> {
    this.#isOpen = false;
    this.#primary = undefined;
    this.#check?.cancel();
    return Promise.resolve();
  }

  get concern(): Concern {
    const { w = "majority", wtimeoutMS = 10_000 } = this.options.writeConcern ?? {};
    return { isMajority: w === "majority", timeoutMs: wtimeoutMS };
  }

  get readsSecondaries(): boolean {
    return (this.options.readPreference ?? "primary") !== "primary";
  }

  /** Servers tell their clients at once when a primary begins or ends. */
  lookSoon(ms = this.#world.between(...hopMs)): void {
    this.#check?.cancel();
    this.#check = this.machine.run(() => this.#look(), ms);
  }

  #canReach(member: Member): boolean {
    return member.isUp && !this.machine.unreachable.has(member.index);
  }

  #look(): void {
    if (!this.#isOpen) return;
    const { set } = this.#network;
    this.#primary = undefined;
    for (const member of set.members) {
      if (!this.#canReach(member)) continue;
      const { isPrimary, term } = member;
      // A deposed primary is known by its term.
      if (isPrimary && term >= this.#termSeen) {
        this.#termSeen = term;
        this.#primary = member;
      }
      const reply = { localTime: new Date(set.timeOf(member)), isWritablePrimary: isPrimary };
      for (const listener of this.#listeners) listener({ reply });
    }
    const primary = this.#primary;
    if (primary) {
      for (const { resolve, timeout } of this.#waiting.splice(0)) {
        timeout.cancel();
        resolve(primary);
      }
    }
    this.lookSoon(primary ? heartbeatMs : heartbeatMsMin);
  }

  #forget(member: Member): void {
    if (this.#primary !== member) return;
    this.#primary = undefined;
    this.lookSoon();
  }

  #selectPrimary(): Promise<Member> {
    if (this.#primary) return Promise.resolve(this.#primary);
    if (!this.#isOpen) throw new Error("the model is not connected");
    return new Promise((resolve, reject) => {
      const waiter = {
        resolve,
        timeout: this.machine.run(() => {
          this.#waiting = this.#waiting.filter((other) => other !== waiter);
          const reason = { servers: new Map([["a", {}]]) };
          reject(new MongoServerSelectionError("no primary", reason as never));
        }, this.options.serverSelectionTimeoutMS ?? 30_000),
      };
      this.#waiting.push(waiter);
    });
  }

  async #select(request: Request): Promise<Member> {
    if (request.kind !== "find" || !request.mayBeSecondary) return this.#selectPrimary();
    const { members } = this.#network.set;
    const [first, ...others] = members.filter((member) => this.#canReach(member));
    return first ? this.#world.oneOf([first, ...others]) : this.#selectPrimary();
  }

  async send(request: Request): Promise<Exclude<Answer, { code: number }>> {
    const member = await this.#select(request);
    const { set, weather, counts } = this.#network;
    const world = this.#world;
    return new Promise((resolve, reject) => {
      const timeoutMs = this.options.socketTimeoutMS ?? Infinity;
      const hop = () => {
        const isLate = world.chance(weather.late) && !this.machine.isPunctual;
        if (isLate) counts.late++;
        return world.between(...hopMs) + (isLate ? world.random() * weather.lateMsMax : 0);
      };
      const lose = () => {
        const isSilent = world.chance(weather.silent);
        if (isSilent) return;
        this.machine.run(
          () => {
            timeout.cancel();
            this.#forget(member);
            reject(new MongoNetworkError("closed"));
          },
          world.between(...hopMs),
        );
      };
      const receive = (answer: Answer) => {
        const isLost = !this.#canReach(member) || world.chance(weather.lostAnswers);
        if (isLost) {
          counts.lostAnswers++;
          lose();
          return;
        }
        this.machine.run(() => {
          timeout.cancel();
          this.#settle(member, answer, resolve, reject);
        }, hop());
      };
      world.after(hop(), () => {
        if (!this.#canReach(member) || world.chance(weather.lostRequests)) lose();
        else set.receive(member, request, receive);
      });
      // An answer that comes later is for nobody.
      const timeout = this.machine.run(() => {
        this.#forget(member);
        reject(new MongoNetworkTimeoutError("timed out"));
      }, timeoutMs);
    });
  }

  #settle(
    member: Member,
    answer: Answer,
    resolve: (answer: Exclude<Answer, { code: number }>) => void,
    reject: (error: Error) => void,
  ): void {
    if ("unconfirmed" in answer && answer.unconfirmed) {
      const writeConcernError = { code: 64, errmsg: "waiting for replication timed out" };
      reject(new MongoWriteConcernError({ ok: 1, writeConcernError }));
      return;
    }
    if (!("code" in answer)) {
      resolve(answer);
      return;
    }
    const { code } = answer;
    if (stateChanges.includes(code)) this.#forget(member);
    reject(new MongoServerError({ code, message: `code ${code}` }));
  }
}

interface ReadOptions {
  readonly projection?: unknown;
  readonly limit?: number;
  readonly sort?: Readonly<Record<string, unknown>>;
  readonly readConcern?: { readonly level: string };
}

type Fields = Readonly<Record<string, unknown>>;

class ModelCollection {
  readonly #client: ModelClient;
  readonly #name: string;

  constructor(client: ModelClient, name: string) {
    this.#client = client;
    this.#name = name;
  }

  find(filter: Fields, options: ReadOptions = {}) {
    const { limit, sort } = options;
    const cursor = {
      sort: (by: Fields) => this.find(filter, { ...options, sort: by }),
      limit: (most: number) => this.find(filter, { ...options, limit: most }),
      toArray: async () => {
        const answer = await this.#client.send({
          ...{ kind: "find", collection: this.#name, filter, sort, limit },
          isMajority: options.readConcern?.level === "majority",
          mayBeSecondary: this.#client.readsSecondaries,
        });
        return "documents" in answer ? answer.documents : [];
      },
    };
    return cursor;
  }

  async findOne(filter: Fields, options: ReadOptions = {}): Promise<Document | null> {
    const [first] = await this.find(filter, { ...options, limit: 1 }).toArray();
    return first ?? null;
  }

  async countDocuments(filter: Fields, options: ReadOptions = {}): Promise<number> {
    return (await this.find(filter, options).toArray()).length;
  }

  async insertOne(document: Document): Promise<unknown> {
    return this.#write({
      kind: "insert",
      collection: this.#name,
      document,
      concern: this.#client.concern,
    });
  }

  updateOne(filter: Fields, update: Fields, { upsert = false }: { upsert?: boolean } = {}) {
    return this.#write({ kind: "update", ...this.#change(filter, update, upsert) });
  }

  replaceOne(filter: Fields, update: Fields, { upsert = false }: { upsert?: boolean } = {}) {
    return this.#write({ kind: "replace", ...this.#change(filter, update, upsert) });
  }

  deleteOne(filter: Fields) {
    return this.#delete(filter, false);
  }

  deleteMany(filter: Fields) {
    return this.#delete(filter, true);
  }

  createIndexes() {
    const { concern } = this.#client;
    return this.#write({ kind: "noop", collection: this.#name, concern });
  }

  createIndex() {
    return this.createIndexes();
  }

  #change(filter: Fields, update: Fields, isUpsert: boolean) {
    return { collection: this.#name, filter, update, isUpsert, concern: this.#client.concern };
  }

  #delete(filter: Fields, isMany: boolean) {
    const { concern } = this.#client;
    return this.#write({ kind: "delete", collection: this.#name, filter, isMany, concern });
  }

  async #write(request: Request) {
    const answer = await this.#client.send(request);
    const { matched, inserted } = "matched" in answer ? answer : { matched: 0, inserted: false };
    const matchedCount = inserted ? 0 : matched;
    return { acknowledged: true, matchedCount, modifiedCount: matchedCount, deletedCount: matched };
  }
}
