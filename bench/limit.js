/** The physical limit: one verification and one signature, with nothing around them. */
import { createPrivateKey, createPublicKey, sign, verify } from "node:crypto";
import { readFileSync } from "node:fs";

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
