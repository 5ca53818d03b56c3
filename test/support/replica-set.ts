/**
 * A replica set of three members, played in front of one server: every member passes commands on to it, tells the
 * driver who is primary, refuses what only a primary may do, and may fail. What a primary has begun is applied before
 * the next election ends, or was never begun: nothing is rolled back.
 */
import { EventEmitter, once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { Long, MongoClient, ObjectId, type Document } from "mongodb";
import { answerTo, bodyOf, commandName, mayStream, onMessages, withBody } from "./mongo-proxy.js";

/**
 * `killed`: connections are closed, new ones refused. `frozen`: takes bytes and answers nothing. `half-open`:
 * connections are closed, and new ones accepted without an answer to anything.
 */
export type Failure = "killed" | "frozen" | "half-open";

/** What becomes of the answer to a write that was applied: a document is added to it. */
export type WriteAnswer = "given" | "dropped" | Document;

const setName = "played";
const writes = new Set(["insert", "update", "delete", "findAndModify", "createIndexes"]);
const reads = new Set(["find", "aggregate", "count", "distinct", "listIndexes", "getMore"]);
const limitNames = [
  ...["minWireVersion", "maxWireVersion", "logicalSessionTimeoutMinutes"],
  ...["maxBsonObjectSize", "maxMessageSizeBytes", "maxWriteBatchSize"],
];
const codes = {
  NotWritablePrimary: 10_107,
  NotPrimaryNoSecondaryOk: 13_435,
  InterruptedDueToReplStateChange: 11_602,
} as const;

export class ReplicaSet {
  /** Called for each write that was applied. */
  onWrite: (command: Document) => WriteAnswer = () => "given";
  primary: Member | undefined;
  term = 1;
  /** Changes with the primary. */
  version = 1;
  /** Commands that the server has not answered yet. */
  underWay = 0;
  readonly events = new EventEmitter().setMaxListeners(0);
  readonly members: readonly Member[];
  #last = 0;

  private constructor(
    server: URL,
    /** What the server's own `hello` says of its protocol. */
    readonly limits: Document,
  ) {
    this.members = [0, 1, 2].map(() => new Member(this, server));
    this.primary = this.members[0];
  }

  /** @param server a connection string */
  static async start(server: string): Promise<ReplicaSet> {
    const client = new MongoClient(server, { directConnection: true });
    const hello = await client.db("admin").command({ hello: 1 });
    await client.close();
    const limits = Object.entries(hello).filter(([name]) => limitNames.includes(name));
    const set = new ReplicaSet(new URL(server), Object.fromEntries(limits));
    await Promise.all(set.members.map((member) => member.listen()));
    return set;
  }

  uri(database: string): string {
    return `mongodb://${this.hosts().join(",")}/${database}?replicaSet=${setName}`;
  }

  hosts(): string[] {
    return this.members.map(({ host }) => host);
  }

  stepDown(): void {
    this.#become(undefined);
  }

  /** The next member that has not failed becomes primary. */
  async elect(): Promise<void> {
    this.#become(undefined);
    while (this.underWay > 0) await once(this.events, "answered");
    do this.#last = (this.#last + 1) % this.members.length;
    while (this.members[this.#last]?.failure !== undefined);
    this.term++;
    this.#become(this.members[this.#last]);
  }

  /** All members tell that something has changed. */
  touch(): void {
    this.version++;
    this.events.emit("changed");
  }

  answered(commands: number): void {
    this.underWay -= commands;
    this.events.emit("answered");
  }

  close(): void {
    for (const member of this.members) member.close();
  }

  #become(primary: Member | undefined): void {
    if (this.primary === primary) return;
    this.primary = primary;
    this.touch();
  }
}

export class Member {
  readonly #set: ReplicaSet;
  readonly #server: URL;
  readonly #listener: Server;
  readonly #sockets = new Set<Socket>();
  #port = 0;
  #processId = new ObjectId();
  failure: Failure | undefined;

  constructor(set: ReplicaSet, server: URL) {
    this.#set = set;
    this.#server = server;
    this.#listener = createServer((client) => this.#accept(client));
  }

  get host(): string {
    return `127.0.0.1:${this.#port}`;
  }

  /** On the same port again after the first time. */
  async listen(): Promise<void> {
    this.#listener.listen(this.#port, "127.0.0.1");
    await once(this.#listener, "listening");
    this.#port = (this.#listener.address() as AddressInfo).port;
  }

  fail(failure: Failure): void {
    this.failure = failure;
    if (failure === "killed") this.#listener.close();
    if (failure !== "frozen") this.#reset();
  }

  async heal(): Promise<void> {
    const { failure } = this;
    if (failure === undefined) return;
    if (failure !== "frozen") this.#processId = new ObjectId();
    if (failure === "half-open") this.#reset();
    this.failure = undefined;
    this.#set.events.emit("healed");
    // Until now a connection of another program may have had the port.
    while (!this.#listener.listening) await this.listen().catch(() => sleep(100));
  }

  close(): void {
    this.#listener.close();
    this.#reset();
  }

  #reset(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #accept(client: Socket): void {
    this.#sockets.add(client);
    client.on("error", () => undefined).on("close", () => this.#sockets.delete(client));
    if (this.failure === "half-open") client.resume();
    else this.#serve(client);
  }

  #serve(client: Socket): void {
    const upstream = connect(Number(this.#server.port), this.#server.hostname);
    const asked = new Map<number, { command: Document; term: number }>();
    upstream
      .on("error", () => undefined)
      .on("close", () => {
        this.#set.answered(asked.size);
        client.destroy();
      });
    // What has arrived is still carried out, by a frozen member later.
    client.on("close", () => {
      void this.#awake().then(() => asked.size === 0 && upstream.destroy());
    });
    onMessages(client, async (message) => {
      await this.#awake();
      const command = bodyOf(message) ?? {};
      // The one command that the driver wants no answer to.
      if (commandName(command) === "endSessions") return;
      if (/^(hello|ismaster)$/i.test(commandName(command))) {
        void this.#greet(client, message, command);
        return;
      }
      const refusal = this.#set.primary === this ? undefined : this.#refusalOf(command);
      if (refusal) client.write(answerTo(message, refusal));
      else {
        asked.set(message.readInt32LE(4), { command, term: this.#set.term });
        this.#set.underWay++;
        upstream.write(message);
      }
    });
    onMessages(upstream, async (message) => {
      const { command, term } = take(asked, message.readInt32LE(8));
      this.#set.answered(1);
      await this.#awake();
      if (client.destroyed) upstream.destroy();
      else if (this.#set.term !== term || (this.#set.primary !== this && this.#refusalOf(command)))
        client.write(withBody(message, this.#error("InterruptedDueToReplStateChange")));
      else this.#answer(client, message, command);
    });
  }

  #answer(client: Socket, message: Buffer, command: Document): void {
    const answer = writes.has(commandName(command)) ? this.#set.onWrite(command) : "given";
    if (answer === "given") client.write(message);
    else if (answer === "dropped") client.destroy();
    else
      client.write(
        withBody(message, {
          ...bodyOf(message),
          ...answer,
          topologyVersion: this.#topologyVersion(),
        }),
      );
  }

  /** Answers at once, or as long as the driver wishes whenever the set has changed. */
  async #greet(client: Socket, message: Buffer, command: Document): Promise<void> {
    const isStreamed = mayStream(message);
    const { topologyVersion, maxAwaitTimeMS = 0 } = command as {
      topologyVersion?: { processId: ObjectId; counter: number };
      maxAwaitTimeMS?: number;
    };
    let known = topologyVersion?.processId.equals(this.#processId)
      ? topologyVersion.counter
      : undefined;
    do {
      if (known === this.#set.version) {
        const signal = AbortSignal.timeout(maxAwaitTimeMS);
        await once(this.#set.events, "changed", { signal }).catch(() => undefined);
      }
      await this.#awake();
      if (client.destroyed) return;
      known = this.#set.version;
      client.write(answerTo(message, this.#greeting(), isStreamed));
    } while (isStreamed);
  }

  #greeting(): Document {
    const { primary, term } = this.#set;
    const isPrimary = primary === this;
    const localTime = new Date();
    return {
      ...this.#set.limits,
      ...{ helloOk: true, isWritablePrimary: isPrimary, ismaster: isPrimary },
      ...{ secondary: !isPrimary, setName, setVersion: 1, hosts: this.#set.hosts(), me: this.host },
      ...(primary && { primary: primary.host }),
      ...(isPrimary && { electionId: new ObjectId(`7fffffff${hex(term, 16)}`) }),
      ...{ topologyVersion: this.#topologyVersion(), localTime },
      ...{ lastWrite: { lastWriteDate: localTime }, ok: 1 },
    };
  }

  /** What a member that is not primary says to a command. */
  #refusalOf(command: Document): Document | undefined {
    const name = commandName(command);
    if (writes.has(name)) return this.#error("NotWritablePrimary");
    const { mode = "primary" } = (command["$readPreference"] ?? {}) as { mode?: string };
    return reads.has(name) && mode === "primary"
      ? this.#error("NotPrimaryNoSecondaryOk")
      : undefined;
  }

  #error(codeName: keyof typeof codes): Document {
    const topologyVersion = this.#topologyVersion();
    return { ok: 0, code: codes[codeName], codeName, errmsg: codeName, topologyVersion };
  }

  #topologyVersion(): Document {
    return { processId: this.#processId, counter: Long.fromNumber(this.#set.version) };
  }

  async #awake(): Promise<void> {
    while (this.failure === "frozen") await once(this.#set.events, "healed");
  }
}

const hex = (value: number, digits: number) => value.toString(16).padStart(digits, "0");

function take<K, V>(map: Map<K, V>, key: K): V {
  const value = map.get(key);
  if (value === undefined) throw new Error("an answer to nothing");
  map.delete(key);
  return value;
}
