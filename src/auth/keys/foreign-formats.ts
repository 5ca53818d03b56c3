/**
 * Names key files in formats that are not read, with the command that converts each. Depends on
 * nothing.
 */

interface ForeignFormat {
  readonly name: string;
  readonly matches: (bytes: Buffer) => boolean;
  /** The commands that take the private key, or the public one, out of `FILE`. */
  readonly toPrivate?: string;
  readonly toPublic: string;
}

const fromPkcs12 = {
  toPrivate: "openssl pkcs12 -in FILE -nocerts -nodes -out key.pem",
  toPublic: "openssl pkcs12 -in FILE -nokeys -clcerts -out certificate.pem",
};
const fromOpenSsh = "ssh-keygen -e -m PKCS8 -f FILE > public.pem";
const toPkcs12 =
  "keytool -importkeystore -srckeystore FILE -destkeystore key.p12 -deststoretype PKCS12 && ";
const throughPkcs12 = (command: string) => toPkcs12 + command.replace("FILE", "key.p12");

const formats: readonly ForeignFormat[] = [
  {
    name: "a Java key store",
    // The magic numbers of JKS and JCEKS.
    matches: (bytes) => /^(feedfeed|cececece)/.test(bytes.toString("hex", 0, 4)),
    toPrivate: throughPkcs12(fromPkcs12.toPrivate),
    toPublic: throughPkcs12(fromPkcs12.toPublic),
  },
  {
    name: "PKCS#12",
    // RFC 7292 section 4: a sequence, version 3, and a ContentInfo of data or signedData.
    matches: (bytes) =>
      /^30.{2,10}?02010330.{2,10}?06092a864886f70d01070[12]/.test(bytes.toString("hex", 0, 32)),
    ...fromPkcs12,
  },
  {
    name: "an OpenSSH key",
    matches: (bytes) => bytes.includes("-----BEGIN OPENSSH PRIVATE KEY-----"),
    toPrivate: "cp FILE key.pem && ssh-keygen -p -N '' -m PEM -f key.pem",
    toPublic: fromOpenSsh,
  },
  {
    name: "an OpenSSH public key",
    matches: (bytes) => bytes.subarray(0, 8).equals(Buffer.from("ssh-rsa ")),
    toPublic: fromOpenSsh,
  },
  {
    name: "base64 of something without the lines of PEM",
    matches: (bytes) => {
      const text = bytes.toString("latin1").replace(/\s/g, "");
      return /^[A-Za-z0-9+/]{100,}={0,2}$/.test(text) && text.startsWith("MI");
    },
    toPrivate: "base64 -d < FILE > key.der",
    toPublic: "base64 -d < FILE > key.der",
  },
];

/**
 * A fault that names the file's format and the command that converts it; undefined for other files.
 */
export function foreignFault(bytes: Uint8Array, wanted: "private" | "public"): string | undefined {
  const format = formats.find(({ matches }) => matches(Buffer.from(bytes)));
  const command = wanted === "private" ? format?.toPrivate : format?.toPublic;
  return format && command && `this is ${format.name}; make PEM or DER of it: ${command}`;
}
