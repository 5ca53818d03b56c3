/**
 * Both stores, for tests that must hold on either. One server for the file, a place of its own for
 * each test.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll } from "@jest/globals";
import { parseConfig, type Environment } from "../../src/config/config.js";
import { openStore } from "../../src/store/open-store.js";
import type { Store } from "../../src/store/store.js";
import { startTestMongo, type TestMongo } from "./mongo.js";

export const storeNames = ["embedded", "mongodb"] as const;
export type StoreName = (typeof storeNames)[number];

/** Returns environments with empty stores, and stores that are closed after the test. */
export function useStores() {
  let mongo: TestMongo | undefined;
  const cleanups: (() => Promise<void>)[] = [];
  beforeAll(async () => {
    mongo = await startTestMongo();
    if (mongo === undefined) throw new Error("these tests need MongoDB");
  });
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  });
  afterAll(() => mongo?.dispose());

  async function newPlace(name: StoreName): Promise<Environment> {
    if (name === "mongodb") return { MONGODB_URI: mongo?.newDatabase() };
    const dataDir = await mkdtemp(join(tmpdir(), "latchkey-"));
    cleanups.push(() => rm(dataDir, { recursive: true }));
    return { DATA_DIR: dataDir };
  }
  async function open(env: Environment): Promise<Store> {
    const store = await openStore(parseConfig(env));
    cleanups.push(() => store.close());
    return store;
  }
  return { newPlace, open };
}
