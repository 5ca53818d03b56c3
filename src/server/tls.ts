/**
 * The certificate of the public port: what is accepted as one, and the watch over its files. Depends on
 * node only.
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createSecureContext, type SecureContextOptions } from "node:tls";

/** PEM texts. */
export interface TlsMaterial {
  /** The certificate and its chain. */
  readonly cert: string;
  readonly key: string;
  /** Who may sign client certificates; with it every client needs one. */
  readonly ca?: string;
}

export interface TlsFiles {
  readonly certFile: string;
  readonly keyFile: string;
  readonly caFile?: string;
}

/**
 * The options for a TLS server, at least TLS 1.2.
 * @throws Error where a part is unreadable or empty, or the key is another certificate's. (Node would
 * take "" for absent: a server without certificate, and the system's authorities for clients.)
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

/** @throws the system's error where a file cannot be read. */
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
  /** What `current` was read from. */
  readonly files: TlsFiles;
  readonly current: TlsMaterial;
  /** Puts new material to use; what it throws goes to `onError`. */
  readonly reload: (material: TlsMaterial) => void;
  /** Called once for each state of the files that cannot be used, or read. */
  readonly onError: (error: unknown) => void;
  /** How often the files are read. Default 10 s. */
  readonly intervalMs?: number;
}

/**
 * Reloads when the files' contents have changed and two readings agree, so that a pair that is just
 * being written is left alone. Contents are compared, not times: that holds for files written in
 * place, renamed, and behind symbolic links that are swapped (Kubernetes). Returns a function that ends
 * the watch.
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
