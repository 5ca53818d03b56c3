/** `grpc.health.v1`, from the same readiness as `/readyz`. Depends on gen and Connect. */
import { Code, ConnectError, type ServiceImpl } from "@connectrpc/connect";
import { AuthService } from "../../gen/auth/v1/auth_pb.js";
import {
  type Health,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from "../../gen/grpc/health/v1/health_pb.js";

/** Whether the service can do its work, and when that changes. */
export interface Readiness {
  isReady(): boolean;
  /** Resolves at the next change or when `signal` aborts. */
  changed(signal: AbortSignal): Promise<void>;
}

/** The empty name stands for the server as a whole. */
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
      // The deadline, the shutdown or the client's leave: a watch never ends by itself.
      signal.throwIfAborted();
    },
  };
}
