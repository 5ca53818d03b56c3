/**
 * What the pages cost a server: CPU time until it serves and memory, with them off, on, and read by somebody.
 *
 *   npm run bench:pages -- --rounds 15
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { cpuMicros, main, residentMiB, start } from "./process.js";

const { values } = parseArgs({ options: { rounds: { type: "string", default: "9" } } });
const folder = mkdtempSync(join(tmpdir(), "latchkey-bench-"));

const rows = [
  ["off", "off", false],
  ["on, not read", "on", false],
  ["on, both read", "on", true],
].map((row) => [...row, []]);

async function measure([, API_PAGE, isRead]) {
  const server = await start([main, "serve"], { DATA_DIR: folder, API_PAGE });
  const { url, managementUrl, pid } = server;
  const ms = cpuMicros(pid) / 1000;
  while (!(await fetch(`${managementUrl}/readyz`)).ok);
  if (isRead) for (const page of [url, managementUrl]) await (await fetch(page)).text();
  const mib = residentMiB(pid);
  await server.stop();
  return { ms, mib };
}

const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];

await measure(rows[0]);
for (let round = 0; round < Number(values.rounds); round++) {
  for (const row of rows) row[3].push(await measure(row));
}
for (const [name, , , results] of rows) {
  const [ms, mib] = ["ms", "mib"].map((key) => median(results.map((result) => result[key])));
  console.log(
    `${name.padEnd(14)} ${ms.toFixed(0).padStart(5)} ms ${mib.toFixed(1).padStart(7)} MiB`,
  );
}
rmSync(folder, { recursive: true });
