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

/** A certificate for `localhost` with that common name, by itself or by an authority. */
export function makeCertificate(commonName: string, issuer?: Certificate): Certificate {
  const folder = mkdtempSync(join(tmpdir(), "latchkey-certificate-"));
  try {
    const [cert, key] = [join(folder, "cert.pem"), join(folder, "key.pem")];
    const args = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    args.push(
      "-days",
      "1",
      "-subj",
      `/CN=${commonName}`,
      "-addext",
      "subjectAltName=DNS:localhost",
    );
    if (issuer) {
      const [caCert, caKey] = [join(folder, "ca.pem"), join(folder, "ca-key.pem")];
      writeFileSync(caCert, issuer.cert);
      writeFileSync(caKey, issuer.key);
      args.push("-CA", caCert, "-CAkey", caKey);
    }
    execFileSync("openssl", [...args, "-keyout", key, "-out", cert], { stdio: "pipe" });
    return { cert: readFileSync(cert, "utf8"), key: readFileSync(key, "utf8") };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
