/**
 * A TCP proxy in front of a server, which can be shut and opened: while it is shut, connections are reset.
 * Depends on node:net.
 */
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

export interface Doorway {
  readonly port: number;
  /** Sets the port to which connections are forwarded. */
  lead(port: number): void;
  /** Ends every connection and resets new ones, or accepts them again. */
  shut(isShut: boolean): void;
  close(): Promise<void>;
}

export async function openDoorway(): Promise<Doorway> {
  const sockets = new Set<Socket>();
  let target: number | undefined;
  let isShut = false;
  const server = createServer((client) => {
    if (isShut || target === undefined) {
      client.resetAndDestroy();
      return;
    }
    const inner = connect(target, "127.0.0.1");
    for (const [socket, other] of [
      [client, inner],
      [inner, client],
    ] as const) {
      sockets.add(socket);
      socket.setNoDelay().pipe(other);
      socket.once("error", () => other.destroy());
      socket.once("close", () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen(0, "127.0.0.1", resolve);
  });
  const endAll = () => sockets.forEach((socket) => socket.destroy());
  return {
    port: (server.address() as AddressInfo).port,
    lead: (port) => (target = port),
    shut(shut) {
      isShut = shut;
      if (isShut) endAll();
    },
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      endAll();
      await closed;
    },
  };
}
