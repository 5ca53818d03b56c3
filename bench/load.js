/** A load generator on loopback: a fixed number of requests at a fixed concurrency, every answer checked. */
import { connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";

function bytesOf({ method = "POST", path, headers, body = "" }, hostname) {
  const lines = [
    `${method} ${path} HTTP/1.1`,
    `host: ${hostname}`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    ...(method === "POST" ? [`content-length: ${Buffer.byteLength(body)}`] : []),
  ];
  return Buffer.from(`${lines.join("\r\n")}\r\n\r\n${body}`);
}

/**
 * Latencies in milliseconds of `count` requests over HTTP/1.1: one request for all connections, or one for each.
 */
export async function loadHttp1(url, oneOrMore, { count, concurrency }) {
  const { hostname, port } = new URL(url);
  const requests = [oneOrMore].flat().map((request) => bytesOf(request, hostname));
  let left = count;
  const latencies = [];
  const client = (_, index) =>
    new Promise((resolve, reject) => {
      const request = requests[index % requests.length];
      const socket = connect(Number(port), hostname).setNoDelay();
      let buffered = "";
      let start;
      const next = () => {
        if (left-- <= 0) return void socket.end(resolve);
        start = performance.now();
        socket.write(request);
      };
      socket.once("connect", next).once("error", reject);
      socket.on("data", (chunk) => {
        buffered += chunk.toString("latin1");
        const head = buffered.indexOf("\r\n\r\n");
        if (head === -1) return;
        const length = Number(/content-length: (\d+)/i.exec(buffered.slice(0, head))?.[1]);
        if (buffered.length < head + 4 + length) return;
        if (!buffered.startsWith("HTTP/1.1 200")) return reject(new Error(buffered.slice(0, 200)));
        buffered = "";
        latencies.push(performance.now() - start);
        next();
      });
    });
  await Promise.all(Array.from({ length: concurrency }, client));
  return latencies;
}

/** The same over one HTTP/2 connection. */
export async function loadHttp2(url, { path, headers, body = "" }, { count, concurrency }) {
  const session = connectHttp2(url);
  const isGrpc = headers["content-type"].startsWith("application/grpc");
  let left = count;
  const latencies = [];
  const call = () =>
    new Promise((resolve, reject) => {
      const start = performance.now();
      const stream = session.request({ ":method": "POST", ":path": path, ...headers });
      let ok = false;
      stream.once("response", (received) => (ok = !isGrpc && received[":status"] === 200));
      stream.once("trailers", (received) => (ok = received["grpc-status"] === "0"));
      stream.once("error", reject);
      stream.once("close", () => {
        latencies.push(performance.now() - start);
        if (ok) resolve();
        else reject(new Error(`refused: ${path}`));
      });
      stream.resume();
      stream.end(body);
    });
  const client = async () => {
    while (left-- > 0) await call();
  };
  await Promise.all(Array.from({ length: concurrency }, client));
  session.close();
  return latencies;
}
