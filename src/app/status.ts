/**
 * The data of the status page, per process, and the page itself, which the first request loads.
 * Depends on auth, pages and the server's types.
 */
import type { ManagedKeys } from "../auth/keys/keys.js";
import { version } from "../config/version.js";
import type { ProcessStatus, Status, StatusTakeover } from "../pages/status.js";
import type { ManagementOptions } from "../server/management.js";
import type { Readiness } from "../server/readiness.js";

export interface StatusSources extends Pick<ProcessStatus, "hashLimits" | "throttle"> {
  readonly hour: () => ProcessStatus["hour"];
  readonly hashes: () => ProcessStatus["hashes"];
  readonly keys: Pick<ManagedKeys, "known">;
  readonly sample: () => ProcessStatus["sample"];
  readonly takeover: () => StatusTakeover | undefined;
}

/** @param startedAt milliseconds since the epoch. */
export function readStatus(sources: StatusSources, startedAt: number): ProcessStatus {
  const { hour, hashes, hashLimits, throttle, keys, sample, takeover } = sources;
  return {
    ...{ startedAt, hashLimits, throttle },
    ...{ hour: hour(), hashes: hashes(), sample: sample(), takeover: takeover() },
    keys: keys.known().map(({ kid, state, since, next }) => ({
      ...{ kid, state, since: since?.getTime() },
      next: next && { step: next.step, at: next.at.getTime() },
    })),
  };
}

/** The pages of the management port, for one process or the workers. */
export function createStatusPages(
  readAll: () => Promise<readonly ProcessStatus[]>,
  readiness: Pick<Readiness, "problems">,
): NonNullable<ManagementOptions["page"]> {
  return async (path) => {
    if (path !== "/" && !path.startsWith("/page/")) return undefined;
    const [{ statusDocument }, { mergeStatuses }] = await Promise.all([
      import("../pages/status-pages.js"),
      import("../pages/status.js"),
    ]);
    return statusDocument(path, async (): Promise<Status> => {
      const all = await readAll();
      const own = { version, now: Date.now(), processes: all.length };
      return { ...own, problems: readiness.problems(), status: mergeStatuses(all) };
    });
  };
}
