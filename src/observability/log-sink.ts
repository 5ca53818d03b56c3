/** Writes lines in the background, so that no request waits for them. Depends on node only. */
import { constants, openSync, write } from "node:fs";
import type { Writable } from "node:stream";

export interface Sink {
  /** Never throws and never waits: what the sink cannot take in time is dropped. */
  readonly write: (line: string) => void;
  /** Lines that were dropped. */
  dropped(): number;
  /** Resolves when everything is written, at the latest after `waitMs`. */
  flush(waitMs: number): Promise<void>;
}

/** Writes a text whole and calls back once that is done or has failed for good. */
type Put = (text: string, done: (error?: Error | null) => void) => void;

/** Characters that wait for a slow sink. */
const waitingMax = 1_048_576;
const retryMs = 100;
/** For so long lines are gathered: a write for each costs a request more than all of its log. */
const batchMs = 10;
const { O_APPEND, O_CREAT, O_NONBLOCK, O_WRONLY } = constants;

/** Appends to a file. @throws the system's error where it cannot be opened. */
export function openFileSink(path: string): Sink {
  return createSink(putTo(openSync(path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK, 0o640)));
}

/** Writes to a stream that others may write to as well, standard output for one. */
export function streamSink(stream: Writable): Sink {
  return createSink((text, done) => void stream.write(text, done));
}

/** To a descriptor that does not block. A full disk may be mended: so a failure is never final. */
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
