/** A proxy for MongoDB that sees every command and may drop or replace its answer. */
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { BSON, type Document } from "mongodb";

/**
 * What happens to an answer: it is passed on, the connection is dropped instead, or it is replaced.
 */
export type Answer = "given" | "dropped" | Document;

export interface MongoProxy {
  /** @param options of the connection string; without them the driver would bypass the proxy */
  uri(database: string, options?: string): string;
  /** Called before a command is passed on. */
  onCommand: (command: Document) => Answer | Promise<Answer>;
  close(): void;
}

/** The first `hello` of a connection is an OP_QUERY, everything else an OP_MSG. */
const opCodes = { reply: 1, query: 2004, message: 2013 } as const;
const headerBytes = 16;
const exhaustAllowed = 1 << 16;
const moreToCome = 1 << 1;
/** In an OP_MSG: the flags, and the kind of the first section. */
const messagePreludeBytes = 5;
/** In an OP_REPLY: flags, cursor, start, number of documents. */
const replyPreludeBytes = 20;

export const commandName = (command: Document) => Object.keys(command)[0] ?? "";

export async function startMongoProxy(server: string): Promise<MongoProxy> {
  const { hostname, port } = new URL(server);
  const sockets = new Set<Socket>();
  const proxy: MongoProxy & { port: number } = {
    port: 0,
    onCommand: () => "given",
    uri: (database, options = "") =>
      `mongodb://127.0.0.1:${proxy.port}/${database}?directConnection=true${options}`,
    close() {
      listener.close();
      for (const socket of sockets) socket.destroy();
    },
  };
  const listener = createServer((client) => {
    const upstream = connect(Number(port), hostname);
    const answers = new Map<number, Answer>();
    const end = () => {
      for (const each of [client, upstream]) {
        sockets.delete(each);
        each.destroy();
      }
    };
    for (const each of [client, upstream]) {
      sockets.add(each);
      each.on("error", end).on("close", end);
    }
    onMessages(client, async (message) => {
      const command = bodyOf(message);
      const answer = command ? await proxy.onCommand(command) : "given";
      if (answer !== "given") answers.set(message.readInt32LE(4), answer);
      upstream.write(message);
    });
    onMessages(upstream, (message) => {
      const answer = answers.get(message.readInt32LE(8)) ?? "given";
      if (answer === "dropped") end();
      else client.write(answer === "given" ? message : withBody(message, answer));
    });
  }).listen(0, "127.0.0.1");
  await once(listener, "listening");
  proxy.port = (listener.address() as AddressInfo).port;
  return proxy;
}

/** Calls `use` for each message, one after the other. */
export function onMessages(socket: Socket, use: (message: Buffer) => void | Promise<void>): void {
  let rest = Buffer.alloc(0);
  let last = Promise.resolve();
  socket.on("data", (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= 4 && rest.length >= rest.readInt32LE(0)) {
      const message = rest.subarray(0, rest.readInt32LE(0));
      rest = Buffer.from(rest.subarray(message.length));
      last = last.then(() => use(message)).catch(() => void socket.destroy());
    }
  });
}

export function bodyOf(message: Buffer): Document | undefined {
  const opCode = message.readInt32LE(12);
  if (opCode !== opCodes.message && opCode !== opCodes.query) return undefined;
  const start =
    opCode === opCodes.message
      ? headerBytes + messagePreludeBytes
      : message.indexOf(0, headerBytes + 4) + 1 + 8;
  // A document sequence may follow.
  const body = message.subarray(start);
  return BSON.deserialize(body.subarray(0, body.readInt32LE(0)));
}

/** Whether more than one answer may be sent to this message. */
export const mayStream = (message: Buffer) =>
  message.readInt32LE(12) === opCodes.message &&
  (message.readInt32LE(headerBytes) & exhaustAllowed) !== 0;

/** @param isStreamed whether another answer follows */
export function answerTo(message: Buffer, body: Document, isStreamed = false): Buffer {
  const isQuery = message.readInt32LE(12) === opCodes.query;
  const head = Buffer.alloc(headerBytes + (isQuery ? replyPreludeBytes : messagePreludeBytes));
  head.writeInt32LE(message.readInt32LE(4), 8);
  head.writeInt32LE(isQuery ? opCodes.reply : opCodes.message, 12);
  if (isQuery) head.writeInt32LE(1, headerBytes + 16);
  else if (isStreamed) head.writeInt32LE(moreToCome, headerBytes);
  return withBody(head, body);
}

/** The answer with another body. */
export function withBody(message: Buffer, body: Document): Buffer {
  const isReply = message.readInt32LE(12) === opCodes.reply;
  const preludeBytes = isReply ? replyPreludeBytes : messagePreludeBytes;
  const head = Buffer.from(message.subarray(0, headerBytes + preludeBytes));
  const changed = Buffer.concat([head, BSON.serialize(body)]);
  changed.writeInt32LE(changed.length, 0);
  return changed;
}
