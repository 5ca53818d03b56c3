/** A disk that can be filled or made read-only: a file system in memory, which takes root to mount. */
import { spawnSync } from "node:child_process";

const mount = (folder: string, options: string) =>
  spawnSync("mount", ["-t", "tmpfs", "-o", options, "tmpfs", folder]).status === 0;

/** Mounts a disk of so many MiB. Says so where that is not allowed, and fails where `CI` is set. */
export function mountDisk(folder: string, sizeMiB: number): boolean {
  if (mount(folder, `size=${sizeMiB}m`)) return true;
  if (process.env["CI"]) throw new Error("the test of a full disk needs to mount a tmpfs");
  process.stderr.write("\n*** SKIPPED: a full disk, which needs root ***\n\n");
  return false;
}

/** Whether the disk is read-only now, or writable. */
export const remountDisk = (folder: string, mode: "ro" | "rw") => mount(folder, `remount,${mode}`);

/** Whoever still has a file open goes on with it. */
export function unmountDisk(folder: string): void {
  spawnSync("umount", ["--lazy", folder]);
}
