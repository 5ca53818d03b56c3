/** Jars from Maven Central, each fetched once into `.cache/`. */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { cacheDir } from "./toolchain.js";

/**
 * The files, in the order of `jars`.
 *
 * @param jars SHA-256 in hex, by path in Maven Central.
 * @throws Error if a file cannot be fetched or has another hash.
 */
export async function fetchJars(jars: Readonly<Record<string, string>>): Promise<string[]> {
  const folder = join(cacheDir, "jars");
  await mkdir(folder, { recursive: true });
  const files: string[] = [];
  for (const [path, sha256] of Object.entries(jars)) {
    const file = join(folder, path.replace(/.*\//, ""));
    files.push(file);
    if (existsSync(file)) continue;
    const answer = await fetch(`https://repo1.maven.org/maven2/${path}`);
    const bytes = Buffer.from(await answer.arrayBuffer());
    const found = createHash("sha256").update(bytes).digest("hex");
    if (found !== sha256) throw new Error(`${path} has the SHA-256 ${found}, not ${sha256}`);
    await writeFile(`${file}.${process.pid}`, bytes);
    await rename(`${file}.${process.pid}`, file);
  }
  return files;
}
