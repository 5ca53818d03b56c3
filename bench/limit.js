/** The physical limits: the operations that every request needs, measured alone. */
import { createPrivateKey, createPublicKey, sign, verify } from "node:crypto";
import { readFileSync } from "node:fs";
import { verify as verifyHash } from "@node-rs/argon2";

/** CPU microseconds of the two operations, the median of rounds. */
export function measureLimit(keyFile, rounds = 5, count = 1000) {
  const privateKey = createPrivateKey(readFileSync(keyFile));
  const publicKey = createPublicKey(privateKey);
  const data = Buffer.alloc(300, "a");
  const signature = sign("RSA-SHA256", data, privateKey);
  const figures = Array.from({ length: rounds }, () => {
    const start = process.cpuUsage();
    for (let i = 0; i < count; i++) {
      verify("RSA-SHA256", data, publicKey, signature);
      sign("RSA-SHA256", data, privateKey);
    }
    const { user, system } = process.cpuUsage(start);
    return (user + system) / count;
  });
  return figures.sort((a, b) => a - b)[Math.floor(rounds / 2)];
}

/** Argon2 verifications a second, measured alone, two at a time. */
export async function measureHashes(encoded, password, count) {
  let left = count;
  const loop = async () => {
    while (left-- > 0) await verifyHash(encoded, password);
  };
  const time = performance.now();
  await Promise.all([loop(), loop()]);
  return (count * 1000) / (performance.now() - time);
}
