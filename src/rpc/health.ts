/**
 * `grpc.health.v1`, answered from the readiness that `/readyz` shows. Depends on gen and Connect.
 */
import { Code, ConnectError, type ServiceImpl } from "@connectrpc/connect";
import { AuthService } from "../../gen/auth/v1/auth_pb.js";
import {
  type Health,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from "../../gen/grpc/health/v1/health_pb.js";

/** The service's readiness and its changes. */
export interface Readiness {
  isReady(): boolean;
  /** Resolves at the next change, or when `signal` aborts. */
  changed(signal: AbortSignal): Promise<void>;
}

/** The empty name means the whole server (grpc.health.v1). */
const names = ["", AuthService.typeName];

export function createHealthImpl(readiness: Readiness): ServiceImpl<typeof Health> {
  const current = () => ({
    status: readiness.isReady() ? ServingStatus.SERVING : ServingStatus.NOT_SERVING,
  });
  return {
    check({ service }) {
      if (!names.includes(service)) throw new ConnectError("unknown service", Code.NotFound);
      return current();
    },
    list() {
      return { statuses: Object.fromEntries(names.map((name) => [name, current()])) };
    },
    async *watch({ service }, { signal }) {
      let last: ServingStatus | undefined;
      while (!signal.aborted) {
        const { status } = names.includes(service)
          ? current()
          : { status: ServingStatus.SERVICE_UNKNOWN };
        if (status !== last) yield { status };
        last = status;
        await readiness.changed(signal);
      }
      // A watch ends by the deadline, the shutdown or the client alone.
      signal.throwIfAborted();
    },
  };
}
