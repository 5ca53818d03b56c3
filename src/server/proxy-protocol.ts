/**
 * The PROXY protocol of layer-4 load balancers, versions 1 and 2
 * (https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt). Depends on node only.
 */
import { isIP, type Socket } from "node:net";

/** The header at the start of a connection. */
export interface ProxyHeader {
  readonly length: number;
  /** The client's address; undefined for the balancer's own connections (LOCAL, UNKNOWN). */
  readonly address: string | undefined;
}

const signature = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");
const lineBytesMax = 107;
const headBytes = 16;
/** Bytes of addresses and extensions in a header of version 2. */
const extrasBytesMax = 4096;

const lineForm = /^PROXY (?:(TCP[46]) (\S+) (\S+) \d{1,5} \d{1,5}|UNKNOWN[^\r\n]*)$/;

/**
 * Returns the header, or undefined if more bytes are needed.
 * @throws Error if there is no header
 */
export function parseProxyHeader(bytes: Buffer): ProxyHeader | undefined {
  const known = Math.min(bytes.length, signature.length);
  return bytes.compare(signature, 0, known, 0, known) === 0 ? parseBinary(bytes) : parseLine(bytes);
}

function parseLine(bytes: Buffer): ProxyHeader | undefined {
  const end = bytes.subarray(0, lineBytesMax).indexOf("\r\n");
  const start = bytes.toString("latin1", 0, Math.min(bytes.length, 6));
  if (!"PROXY ".startsWith(start) || (end < 0 && bytes.length >= lineBytesMax)) throw noHeader();
  if (end < 0) return undefined;
  const match = lineForm.exec(bytes.toString("latin1", 0, end));
  if (match === null) throw noHeader();
  const [, family, source = "", destination = ""] = match;
  const version = { TCP4: 4, TCP6: 6 }[family ?? ""];
  if (version !== undefined && (isIP(source) !== version || isIP(destination) !== version)) {
    throw noHeader();
  }
  return { length: end + 2, address: version === undefined ? undefined : source };
}

function parseBinary(bytes: Buffer): ProxyHeader | undefined {
  if (bytes.length < headBytes) return undefined;
  const versionAndCommand = bytes.readUInt8(12);
  const family = bytes.readUInt8(13) >> 4;
  const extras = bytes.readUInt16BE(14);
  const isLocal = versionAndCommand === 0x20;
  if ((!isLocal && versionAndCommand !== 0x21) || extras > extrasBytesMax) throw noHeader();
  const length = headBytes + extras;
  if (bytes.length < length) return undefined;
  const addressBytes = { 1: 4, 2: 16 }[family];
  if (isLocal || addressBytes === undefined) return { length, address: undefined };
  if (extras < 2 * addressBytes + 4) throw noHeader();
  const source = bytes.subarray(headBytes, headBytes + addressBytes);
  return { length, address: addressBytes === 4 ? source.join(".") : ipv6Of(source) };
}

const ipv6Of = (bytes: Buffer) => (bytes.toString("hex").match(/.{4}/g) ?? []).join(":");

const noHeader = () => new Error("no PROXY protocol header");

/**
 * Reads the header and puts the other bytes back. From then on the socket's `remoteAddress` is the
 * client's.
 * @param onFault called with the fault before the socket is destroyed
 */
export function readProxyHeader(
  socket: Socket,
  timeoutMs: number,
  onFault: (fault: "slow_request" | "malformed") => void,
  onHeader: () => void,
): void {
  let head: Buffer = Buffer.alloc(0);
  const fail = (fault: "slow_request" | "malformed") => {
    stop();
    onFault(fault);
    socket.destroy();
  };
  const stop = () => {
    clearTimeout(timer);
    socket.off("readable", read).off("end", hangUp).off("close", stop);
  };
  const hangUp = () => socket.destroy();
  const read = () => {
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) return;
    head = head.length === 0 ? chunk : Buffer.concat([head, chunk]);
    try {
      const header = parseProxyHeader(head);
      if (header === undefined) return;
      stop();
      const { address } = header;
      if (address !== undefined) Object.defineProperty(socket, "remoteAddress", { value: address });
      if (head.length > header.length) socket.unshift(head.subarray(header.length));
      onHeader();
    } catch {
      fail("malformed");
    }
  };
  const timer = setTimeout(() => fail("slow_request"), timeoutMs);
  socket.on("readable", read).on("end", hangUp).on("close", stop);
}
