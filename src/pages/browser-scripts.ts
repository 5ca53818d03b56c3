/** Reads the compiled scripts of the pages. Depends on node only. */
import { readFile } from "node:fs/promises";

/** @param name of a file in `browser/`, without its extension */
export const readScript = (name: string): Promise<string> =>
  readFile(new URL(`./browser/${name}.js`, import.meta.url), "utf8");
