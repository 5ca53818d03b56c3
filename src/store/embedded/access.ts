/** Who else on this machine can get at the embedded store's file. Depends on node only. */
import { realpathSync, statSync } from "node:fs";
import { platform } from "node:os";
import { dirname } from "node:path";

const bits = { othersRead: 0o004, othersWrite: 0o002, sticky: 0o1000 };

/**
 * What is wrong with the permissions of the file, of its folder, and of the folder that a symbolic link leads to:
 * one sentence each. Windows has no such permissions.
 */
export function accessWarnings(path: string): string[] {
  if (platform() === "win32") return [];
  const real = realpathSync(path);
  const folders = [...new Set([dirname(path), dirname(real)])];
  return [...[real, `${real}-lock`].flatMap(fileWarning), ...folders.flatMap(folderWarning)];
}

function fileWarning(path: string): string[] {
  const mode = modeOf(path);
  if ((mode & (bits.othersRead | bits.othersWrite)) === 0) return [];
  return [
    `${path} can be read or written by every user of this machine (mode ${octal(mode)}); chmod o= takes that away`,
  ];
}

/** Whoever can write into a folder can put another file in the place of one in it. */
function folderWarning(path: string): string[] {
  const mode = modeOf(path);
  if ((mode & bits.othersWrite) === 0 || (mode & bits.sticky) !== 0) return [];
  return [
    `every user of this machine can replace what is in ${path} (mode ${octal(mode)}); chmod o-w takes that away`,
  ];
}

const modeOf = (path: string) => statSync(path, { throwIfNoEntry: false })?.mode ?? 0;
const octal = (mode: number) => (mode & 0o7777).toString(8);
