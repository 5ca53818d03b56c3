/**
 * Checks the embedded store's file before LMDB opens it, because LMDB ends the process on a file that it cannot
 * read. Depends on node:fs. The layout is that of `mdb.c` in lmdb 3.5.6, data version 2, little-endian.
 */
import {
  closeSync,
  fstatSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";

export const notOurs = "is not an embedded store of Latchkey";

const magic = 0xbeefc0de;
const dataVersion = 2;
const pageFlags = { branch: 0x01, leaf: 0x02, overflow: 0x04, meta: 0x08 };
const nodeFlags = { overflow: 0x01, database: 0x02 };
const pageHeaderBytes = 24;
const nodeHeaderBytes = 8;
const databaseBytes = 48;
const metaBytes = 168;
const noPage = 2n ** 64n - 1n;

type ReadPage = (page: bigint, bytes: number) => Buffer;

/**
 * Why LMDB cannot read every page of the file; completes the sentence "PATH …". Undefined if it can. An empty
 * file is a new store.
 */
export function faultOfFile(path: string): string | undefined {
  return isNotedWhole(path) ? undefined : faultOfPages(path);
}

/**
 * Notes beside the file that all of its pages can be read as it is now, so that the next start does not read them
 * all: call it after LMDB has closed the file. Any later change of the file makes the note void.
 */
export function noteWhole(path: string): void {
  try {
    // It may be the file of another user, who ran a command.
    rmSync(noteOf(path), { force: true });
    writeFileSync(noteOf(path), stateOf(path), { mode: 0o600 });
  } catch {
    // Without a note, for example in a folder without rights, the next start reads all pages.
  }
}

const noteOf = (path: string) => `${path}-whole`;

function isNotedWhole(path: string): boolean {
  try {
    return readFileSync(noteOf(path), "utf8") === stateOf(path);
  } catch {
    return false;
  }
}

function stateOf(path: string): string {
  const { dev, ino, size, ctimeNs } = statSync(path, { bigint: true });
  return [dev, ino, size, ctimeNs].join(" ");
}

function faultOfPages(path: string): string | undefined {
  const file = openSync(path, "r");
  try {
    for (;;) {
      const before = readAt(file, 0, pageHeaderBytes + metaBytes);
      if (before.length === 0) return undefined;
      const metas = metasOf(file, before);
      if (metas === undefined) return notOurs;
      if (isWhole(file, metas)) return undefined;
      // Another process may have written pages meanwhile: a fault counts only if nothing was committed.
      const again = metasOf(file, readAt(file, 0, pageHeaderBytes + metaBytes));
      if (again && Buffer.concat(again).equals(Buffer.concat(metas))) return "is damaged";
    }
  } finally {
    closeSync(file);
  }
}

function readAt(file: number, position: number, bytes: number): Buffer {
  const buffer = Buffer.alloc(bytes);
  return buffer.subarray(0, readSync(file, buffer, 0, bytes, position));
}

const pageBytesOf = (meta: Buffer) => meta.readUInt32LE(24);

/** The contents of the two meta pages; undefined if one is not a meta page. */
function metasOf(file: number, first: Buffer): [Buffer, Buffer] | undefined {
  const isMeta = (page: Buffer) =>
    page.length === pageHeaderBytes + metaBytes &&
    (page.readUInt16LE(18) & pageFlags.meta) !== 0 &&
    page.readUInt32LE(pageHeaderBytes) === magic &&
    (page.readUInt32LE(pageHeaderBytes + 4) & 0xffff) === dataVersion;
  if (!isMeta(first)) return undefined;
  const pageBytes = pageBytesOf(first.subarray(pageHeaderBytes));
  if (pageBytes < 512 || pageBytes > 65_536 || (pageBytes & (pageBytes - 1)) !== 0)
    return undefined;
  const second = readAt(file, pageBytes, pageHeaderBytes + metaBytes);
  return isMeta(second)
    ? [first.subarray(pageHeaderBytes), second.subarray(pageHeaderBytes)]
    : undefined;
}

/** Whether every page reachable from the newer meta page exists and is of the right kind. */
function isWhole(file: number, [one, two]: readonly [Buffer, Buffer]): boolean {
  const meta = one.readBigUInt64LE(128) >= two.readBigUInt64LE(128) ? one : two;
  const pageBytes = pageBytesOf(meta);
  const pages = BigInt(Math.floor(fstatSync(file).size / pageBytes));
  const read: ReadPage = (page, bytes) => {
    if (page >= pages) throw new RangeError("page beyond the end of the file");
    const content = readAt(file, Number(page) * pageBytes, bytes);
    if (content.readBigUInt64LE(0) !== page) throw new RangeError("page of another number");
    return content;
  };
  try {
    checkDatabase(meta.subarray(24, 72), pageBytes, pages, read);
    checkDatabase(meta.subarray(72, 120), pageBytes, pages, read);
    return true;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return false;
  }
}

/** @throws RangeError for a page of the wrong kind or number, or an offset outside its page */
function checkDatabase(database: Buffer, pageBytes: number, pages: bigint, read: ReadPage): void {
  const check = (pageNumber: bigint, levels: number) => {
    const page = read(pageNumber, pageBytes);
    const wanted = levels > 1 ? pageFlags.branch : pageFlags.leaf;
    if ((page.readUInt16LE(18) & 0x0f) !== wanted) throw new RangeError("page of another kind");
    const lower = page.readUInt16LE(20);
    for (let pointer = 0; pointer < lower; pointer += 2) {
      const start = pageHeaderBytes + page.readUInt16LE(pageHeaderBytes + pointer);
      const flags = page.readUInt16LE(start + 4);
      const keyEnd = start + nodeHeaderBytes + page.readUInt16LE(start + 6);
      if (keyEnd > pageBytes) throw new RangeError("key beyond its page");
      if (levels > 1) {
        check(BigInt(page.readUInt32LE(start)) | (BigInt(flags) << 32n), levels - 1);
      } else if (flags & nodeFlags.database) {
        checkDatabase(page.subarray(keyEnd, keyEnd + databaseBytes), pageBytes, pages, read);
      } else if (flags & nodeFlags.overflow) {
        const first = page.readBigUInt64LE(keyEnd);
        const head = read(first, pageHeaderBytes);
        if (first + BigInt(head.readUInt32LE(20)) > pages) throw new RangeError("value cut off");
      } else if (keyEnd + page.readUInt32LE(start) > pageBytes) {
        throw new RangeError("value beyond its page");
      }
    }
  };
  const root = database.readBigUInt64LE(40);
  if (root !== noPage) check(root, database.readUInt16LE(6));
}
