/** Calls the API like its clients do: REST, Connect and gRPC-Web. Runs in a browser; depends on nothing. */

export interface ApiCall {
  readonly method: string;
  readonly path: string;
  readonly protocol: "plain" | "connect" | "grpc-web";
  readonly credentials: Credentials | undefined;
  readonly message: object | undefined;
}

export type Credentials =
  | { readonly scheme: "basic"; readonly username: string; readonly password: string }
  | { readonly scheme: "bearer"; readonly token: string };

export interface ApiAnswer {
  readonly status: string;
  readonly isAccepted: boolean;
  /** Includes the trailers of gRPC-Web. */
  readonly headers: readonly (readonly [string, string])[];
  readonly body: string;
  readonly ms: number;
}

export async function callApi(call: ApiCall): Promise<ApiAnswer> {
  const start = performance.now();
  const response = await fetch(call.path.slice(1), requestOf(call));
  const bytes = new Uint8Array(await response.arrayBuffer());
  const ms = performance.now() - start;
  const headers = [...response.headers];
  const status = [response.status, response.statusText].join(" ").trim();
  if (call.protocol === "grpc-web") {
    const { message, trailers } = readFrames(bytes);
    const all = [...headers, ...trailers];
    const code = all.find(([name]) => name === "grpc-status")?.[1] ?? "absent";
    return {
      ...{ status: `${status}, grpc-status ${code}`, isAccepted: code === "0" },
      ...{ headers: all, body: message, ms },
    };
  }
  const body = new TextDecoder().decode(bytes);
  return { status, isAccepted: response.ok, headers, body, ms };
}

function requestOf({ method, protocol, credentials, message }: ApiCall): RequestInit {
  const headers = new Headers();
  if (credentials !== undefined) headers.set("authorization", headerOf(credentials));
  const init = { method, headers, cache: "no-store", credentials: "omit" } as const;
  if (message === undefined) return init;
  const body = new TextEncoder().encode(JSON.stringify(message));
  if (protocol !== "grpc-web") {
    headers.set("content-type", "application/json");
    return { ...init, body };
  }
  headers.set("content-type", "application/grpc-web+json");
  headers.set("x-grpc-web", "1");
  return { ...init, body: frameOf(body) };
}

const frameHeadBytes = 5;

/** A gRPC frame: the flag "not compressed", the length, the message. */
function frameOf(message: Uint8Array): Uint8Array<ArrayBuffer> {
  const frame = new Uint8Array(frameHeadBytes + message.length);
  new DataView(frame.buffer).setUint32(1, message.length);
  frame.set(message, frameHeadBytes);
  return frame;
}

/** Reads the frames of an answer: the message, and the trailers in the last one. */
function readFrames(bytes: Uint8Array) {
  let message = "";
  const trailers: [string, string][] = [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at + frameHeadBytes <= bytes.length;) {
    const end = at + frameHeadBytes + view.getUint32(at + 1);
    const text = new TextDecoder().decode(bytes.subarray(at + frameHeadBytes, end));
    if (view.getUint8(at) < 0x80) message += text;
    else trailers.push(...linesOf(text));
    at = end;
  }
  return { message, trailers };
}

const linesOf = (text: string) =>
  text
    .split("\r\n")
    .filter((line) => line !== "")
    .map((line): [string, string] => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
    });

function headerOf(credentials: Credentials): string {
  if (credentials.scheme === "bearer") return `Bearer ${credentials.token}`;
  // RFC 7617, in UTF-8.
  const bytes = new TextEncoder().encode(`${credentials.username}:${credentials.password}`);
  return `Basic ${btoa(String.fromCharCode(...bytes))}`;
}

/** The command of a POSIX shell that makes the call; a call over gRPC-Web is made over Connect. */
export function curlOf({ method, path, credentials, message }: ApiCall, baseUrl: string): string {
  const options =
    credentials === undefined
      ? []
      : credentials.scheme === "basic"
        ? ["-u", quoted(`${credentials.username}:${credentials.password}`)]
        : ["-H", quoted(`Authorization: ${headerOf(credentials)}`)];
  const body =
    message === undefined
      ? method === "GET"
        ? []
        : ["-X", method]
      : ["-H", quoted("Content-Type: application/json"), "-d", quoted(JSON.stringify(message))];
  const url = new URL(path.slice(1), baseUrl).href;
  return ["curl", "-i", ...options, ...body, quoted(url)].join(" ");
}

const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;
