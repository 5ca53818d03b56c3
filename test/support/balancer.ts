/**
 * A load balancer like a Kubernetes service: asks each replica's `/readyz` and gives new
 * connections to those that are ready, in turn. Open connections stay where they are.
 */
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { eventually, type ServerProcess } from "./server-process.js";

export interface Balancer {
  readonly port: number;
  /** Resolves once the replica gets connections. */
  add(replica: ServerProcess): Promise<void>;
  close(): void;
}

/** Milliseconds between probes, and failed probes after which a replica gets no new connections. */
const probeIntervalMs = 100;
const failuresMax = 2;

export async function startBalancer(): Promise<Balancer> {
  const failures = new Map<ServerProcess, number>();
  const sockets = new Set<Socket>();
  let turn = 0;
  const ready = () => [...failures].filter(([, count]) => count < failuresMax).map(([key]) => key);

  async function probe(replica: ServerProcess): Promise<void> {
    const { ok } = await fetch(`${replica.managementUrl}/readyz`).catch(() => ({ ok: false }));
    failures.set(replica, ok ? 0 : (failures.get(replica) ?? 0) + 1);
    if (replica.child.exitCode !== null) failures.delete(replica);
  }
  const timer = setInterval(
    () => [...failures.keys()].forEach((key) => void probe(key)),
    probeIntervalMs,
  );

  function pass(from: Socket, to: Socket): void {
    sockets.add(from);
    from.pipe(to);
    from.on("error", () => to.resetAndDestroy()).on("close", () => sockets.delete(from));
  }
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    const replicas = ready();
    const { url } = replicas[turn++ % replicas.length] ?? {};
    if (url === undefined) return void client.resetAndDestroy();
    const { hostname, port } = new URL(url);
    const replica = connect({
      host: hostname,
      port: Number(port),
      allowHalfOpen: true,
      noDelay: true,
    });
    pass(client, replica);
    pass(replica, client);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));

  return {
    port: (server.address() as AddressInfo).port,
    async add(replica) {
      failures.set(replica, failuresMax);
      await eventually(() => Promise.resolve(ready().includes(replica)), Boolean, 25_000);
    },
    close() {
      clearInterval(timer);
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
