import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { execFileSync } from "node:child_process";
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { createSink, openFileSink, putTo, streamSink } from "../../src/observability/log-sink.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "latchkey-sink-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const line = `${"x".repeat(1023)}\n`;

test("what is written is in the file, in order, once it is flushed", async () => {
  const file = join(folder, "audit.log");
  const sink = openFileSink(file);
  const lines = Array.from({ length: 2000 }, (_, i) => `${i}\n`);
  lines.slice(0, 1000).forEach(sink.write);
  await new Promise((resolve) => setTimeout(resolve, 5));
  lines.slice(1000).forEach(sink.write);
  await sink.flush(5000);
  expect(readFileSync(file, "utf8")).toBe(lines.join(""));
  expect(sink.dropped()).toBe(0);
});

test("a full pipe costs lines, whole ones, and neither time nor errors; read, it goes on", async () => {
  const fifo = join(folder, "fifo");
  execFileSync("mkfifo", [fifo]);
  const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
  const sink = openFileSink(fifo);
  try {
    for (let i = 0; i < 3000; i++) sink.write(line);
    await sink.flush(50);
    expect(sink.dropped()).toBeGreaterThan(1500);

    let text = "";
    const drain = () => {
      const buffer = Buffer.alloc(65_536);
      try {
        text += buffer.toString("utf8", 0, readSync(reader, buffer));
      } catch {
        // Nothing there yet.
      }
    };
    const reading = setInterval(drain, 1);
    await sink.flush(20_000);
    sink.write("after\n");
    await sink.flush(20_000);
    clearInterval(reading);
    drain();
    expect(text).toBe(line.repeat(3000 - sink.dropped()) + "after\n");
  } finally {
    closeSync(reader);
  }
});

test("a sink that fails is tried again and never throws", async () => {
  const sink = createSink(
    putTo(openSync(join(folder, "x"), constants.O_CREAT | constants.O_RDONLY)),
  );
  for (let i = 0; i < 2000; i++) sink.write(line);
  await sink.flush(20);
  expect(sink.dropped()).toBeGreaterThan(900);
});

test("a stream that has gone costs lines", async () => {
  const stream = new PassThrough();
  stream.on("error", () => undefined).destroy();
  const sink = streamSink(stream);
  sink.write(line);
  await sink.flush(5000);
  expect(sink.dropped()).toBe(1);
});
