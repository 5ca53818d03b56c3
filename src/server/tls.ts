/** The certificate of the public port: checks it, and watches its files. Depends on node only. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createSecureContext, type SecureContextOptions } from "node:tls";

/** PEM texts. */
export interface TlsMaterial {
  /** The certificate and its chain. */
  readonly cert: string;
  readonly key: string;
  /** The authorities that may sign client certificates. If set, every client needs one. */
  readonly ca?: string;
}

export interface TlsFiles {
  readonly certFile: string;
  readonly keyFile: string;
  readonly caFile?: string;
}

/**
 * The options of a TLS server, at least TLS 1.2.
 * @throws Error if a part is unreadable or empty, or if the key belongs to another certificate.
 * (Node takes "" for absent: it would serve without a certificate, or trust the system's
 * authorities.)
 */
export function secureContextOptions({ cert, key, ca }: TlsMaterial): SecureContextOptions {
  if (!new X509Certificate(cert).checkPrivateKey(createPrivateKey(key))) {
    throw new Error("the TLS key is not the key of the certificate");
  }
  if (ca !== undefined) new X509Certificate(ca);
  const options = { cert, key, minVersion: "TLSv1.2", ...(ca !== undefined && { ca }) } as const;
  createSecureContext(options);
  return options;
}

/** @throws the system's error if a file cannot be read */
export async function readTlsFiles({ certFile, keyFile, caFile }: TlsFiles): Promise<TlsMaterial> {
  const read = (file: string) => readFile(file, "utf8");
  const [cert, key, ca] = await Promise.all([
    read(certFile),
    read(keyFile),
    caFile === undefined ? Promise.resolve(undefined) : read(caFile),
  ]);
  return { cert, key, ...(ca === undefined ? {} : { ca }) };
}

export interface TlsWatchOptions {
  /** The files that `current` was read from. */
  readonly files: TlsFiles;
  readonly current: TlsMaterial;
  /** Called with new material. Its errors are passed to `onError`. */
  readonly reload: (material: TlsMaterial) => void;
  /** Called once for each state of the files that cannot be read or used. */
  readonly onError: (error: unknown) => void;
  /** How often the files are read. Default 10 s. */
  readonly intervalMs?: number;
}

/**
 * Reloads when the contents have changed and two readings agree, so that a pair that is being
 * written is left alone. Comparing contents covers files written in place, renamed files, and
 * swapped symbolic links (Kubernetes). Returns a function that ends the watch.
 */
export function watchTlsFiles(options: TlsWatchOptions): () => void {
  let decided = JSON.stringify({ material: options.current });
  let seen = decided;
  const look = async (): Promise<void> => {
    const read = await readTlsFiles(options.files).then(
      (material) => ({ material }),
      (error: unknown) => ({ error }),
    );
    const contents = JSON.stringify(read);
    const settled = contents === seen;
    seen = contents;
    if (!settled || contents === decided) return;
    decided = contents;
    try {
      if ("error" in read) throw read.error;
      options.reload(read.material);
    } catch (error) {
      options.onError(error);
    }
  };
  const timer = setInterval(() => void look(), options.intervalMs ?? 10_000).unref();
  return () => clearInterval(timer);
}
