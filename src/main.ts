#!/usr/bin/env node
/**
 * The entry point and the only file that touches `process`; the command line gets it as plain
 * values. Depends on the command line and node.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { run } from "./cli/program.js";
import type { Terminal } from "./cli/terminal.js";

const exitCodes = { SIGINT: 130, SIGTERM: 143 } as const;

const terminal: Terminal = {
  env: process.env,
  nodeVersion: process.versions.node,
  get stdin() {
    return process.stdin;
  },
  stdout: process.stdout,
  stderr: process.stderr,
  interruption() {
    const controller = new AbortController();
    const signals = Object.entries(exitCodes).map(([signal, code]) => {
      const listener = () => {
        // A second signal, of either kind, ends the process.
        for (const [name, each] of signals) process.off(name, each);
        controller.abort(code);
      };
      return [signal, listener] as const;
    });
    for (const [signal, listener] of signals) process.on(signal, listener);
    return controller.signal;
  },
  onHangup: (listener) => void process.on("SIGHUP", listener),
};

// Stream errors are ignored here: each write gets its own error in its callback.
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => undefined);

process.exitCode = await run(process.argv.slice(2), terminal, {
  now: Date.now,
  sleep,
});

// Exits after one second even if nobody reads stdout.
setTimeout(() => process.exit(), 1000).unref();
