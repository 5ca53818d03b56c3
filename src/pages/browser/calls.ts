/** Calls the API like its clients do: REST, Connect and gRPC-Web. Runs in a browser; depends on nothing. */

export interface ApiCall {
  readonly method: string;
  readonly path: string;
  readonly protocol: "plain" | "connect" | "grpc-web";
  readonly authorization: string | undefined;
  readonly message: object | undefined;
}

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

function requestOf({ method, protocol, authorization, message }: ApiCall): RequestInit {
  const headers = new Headers();
  if (authorization !== undefined) headers.set("authorization", authorization);
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

/** The user-id and password of RFC 7617, in UTF-8. */
export function basicOf(username: string, password: string): string {
  const bytes = new TextEncoder().encode(`${username}:${password}`);
  return `Basic ${btoa(String.fromCharCode(...bytes))}`;
}
