/**
 * Throw-away certificates, made by the openssl command.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/** The arguments of `openssl req` that make a key. */
const newEcKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
export const newRsaKey = ["-newkey", "rsa:2048"];

/**
 * A certificate for `localhost` and 127.0.0.1 with this common name, self-signed or issued by an authority.
 * @param key how to make a new key, or a certificate whose key gets another certificate.
 */
export function makeCertificate(
  commonName: string,
  issuer?: Certificate,
  key: readonly string[] | Certificate = newEcKey,
): Certificate {
  const folder = mkdtempSync(join(tmpdir(), "latchkey-certificate-"));
  const file = (name: string, content: string) => {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  };
  try {
    const [cert, keyFile] = [join(folder, "cert.pem"), join(folder, "key.pem")];
    const args = ["req", "-x509", "-nodes", "-days", "1", "-subj", `/CN=${commonName}`];
    args.push("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-out", cert);
    if ("key" in key) args.push("-key", file("key.pem", key.key));
    else args.push(...key, "-keyout", keyFile);
    if (issuer) {
      args.push("-CA", file("ca.pem", issuer.cert), "-CAkey", file("ca-key.pem", issuer.key));
    }
    execFileSync("openssl", args, { stdio: "pipe" });
    return { cert: readFileSync(cert, "utf8"), key: readFileSync(keyFile, "utf8") };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A self-signed certificate, as the authority would have issued it for the day before. */
export function expired({ cert, key }: Certificate, issuer: Certificate): Certificate {
  const folder = mkdtempSync(join(tmpdir(), "latchkey-certificate-"));
  try {
    const args = ["x509", "-days", "-1", "-CAcreateserial"];
    const files = { "-in": cert, "-CA": issuer.cert, "-CAkey": issuer.key };
    for (const [option, content] of Object.entries(files)) {
      const file = join(folder, `${option}.pem`);
      writeFileSync(file, content);
      args.push(option, file);
    }
    return { cert: execFileSync("openssl", args, { stdio: "pipe", encoding: "utf8" }), key };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
