/** Checks whether other users of this machine can read or replace the embedded store's file. Depends on node only. */
import { realpathSync, statSync } from "node:fs";
import { platform } from "node:os";
import { dirname } from "node:path";

const bits = { othersRead: 0o004, othersWrite: 0o002, sticky: 0o1000 };

/**
 * Faults of the permissions of the file and of the folders above it, also of those to which a symbolic link leads,
 * in one sentence each. None on Windows, which has no such permissions.
 */
export function accessWarnings(path: string): string[] {
  if (platform() === "win32") return [];
  const real = realpathSync(path);
  const folders = new Set([...foldersAbove(path), ...foldersAbove(real)]);
  return [...[real, `${real}-lock`].flatMap(fileWarning), ...[...folders].flatMap(folderWarning)];
}

/** From the nearest one to the root. */
function foldersAbove(path: string): string[] {
  const folder = dirname(path);
  return folder === path ? [] : [folder, ...foldersAbove(folder)];
}

function fileWarning(path: string): string[] {
  const mode = modeOf(path);
  if ((mode & (bits.othersRead | bits.othersWrite)) === 0) return [];
  return [
    `${path} can be read or written by every user of this machine (mode ${octal(mode)}); chmod o= prevents that`,
  ];
}

/** A user who can write to a folder can replace what is in it, unless it is sticky. */
function folderWarning(path: string): string[] {
  const mode = modeOf(path);
  if ((mode & bits.othersWrite) === 0 || (mode & bits.sticky) !== 0) return [];
  return [
    `every user of this machine can replace what is in ${path} (mode ${octal(mode)}); chmod o-w prevents that`,
  ];
}

const modeOf = (path: string) => statSync(path, { throwIfNoEntry: false })?.mode ?? 0;
const octal = (mode: number) => (mode & 0o7777).toString(8);
