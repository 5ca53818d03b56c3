/** Writes lines in the background, so that no request waits for them. Depends on node only. */
import { constants, openSync, write } from "node:fs";
import type { Writable } from "node:stream";

export interface Sink {
  /** Never throws and never waits: drops lines that the sink cannot take in time. */
  readonly write: (line: string) => void;
  /** The number of dropped lines. */
  dropped(): number;
  /** Resolves when everything is written, or after `waitMs`. */
  flush(waitMs: number): Promise<void>;
}

/** Writes the whole text, and calls back when that is done or has finally failed. */
type Put = (text: string, done: (error?: Error | null) => void) => void;

/** Characters that may wait for a slow sink. */
const waitingMax = 1_048_576;
const retryMs = 100;
/**
 * Lines are collected for this long: one write per line would cost a request more than the rest of
 * its logging.
 */
const batchMs = 10;
const { O_APPEND, O_CREAT, O_NONBLOCK, O_WRONLY } = constants;

/**
 * Appends to a file.
 * @throws the system's error if the file cannot be opened
 */
export function openFileSink(path: string): Sink {
  return createSink(putTo(openSync(path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK, 0o640)));
}

/** Writes to a stream that other code may write to as well, such as standard output. */
export function streamSink(stream: Writable): Sink {
  return createSink((text, done) => void stream.write(text, done));
}

/** Writes to a non-blocking descriptor. No failure is final: a full disk may be freed. */
export function putTo(fd: number): Put {
  function put(rest: Buffer, done: () => void): void {
    write(fd, rest, (error, written) => {
      if (error) setTimeout(put, retryMs, rest, done).unref();
      else if (written < rest.length) put(rest.subarray(written), done);
      else done();
    });
  }
  return (text, done) => put(Buffer.from(text), done);
}

export function createSink(put: Put): Sink {
  let waiting: string[] = [];
  let waitingLength = 0;
  let dropped = 0;
  let isWriting = false;
  let batch: NodeJS.Timeout | undefined;
  let flushed: (() => void)[] = [];

  function next(): void {
    clearTimeout(batch);
    batch = undefined;
    isWriting = waiting.length > 0;
    if (!isWriting) {
      flushed.forEach((resolve) => resolve());
      flushed = [];
      return;
    }
    const [lines, length] = [waiting, waitingLength];
    waiting = [];
    put(lines.join(""), (error) => {
      if (error) dropped += lines.length;
      waitingLength -= length;
      next();
    });
  }

  return {
    write(line) {
      if (waitingLength + line.length > waitingMax) {
        dropped++;
        return;
      }
      waiting.push(line);
      waitingLength += line.length;
      if (!isWriting) batch ??= setTimeout(next, batchMs);
    },
    dropped: () => dropped,
    async flush(waitMs) {
      if (batch) next();
      if (!isWriting) return;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, waitMs);
        flushed.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    },
  };
}
