/** Request bodies with a `Content-Encoding`. Depends on auth's errors, its neighbour `body.ts` and node. */
import { promisify } from "node:util";
import { inflateRaw, unzip } from "node:zlib";
import { AuthError } from "../auth/errors.js";
import { BodyTooLarge } from "./body.js";

/** The encodings that can be read, as in `Accept-Encoding`. */
export const acceptedEncodings = "gzip, deflate";

/** The body's encoding cannot be read. */
export class UnsupportedEncoding extends Error {}

const unpack = promisify(unzip);
const unpackRaw = promisify(inflateRaw);

/**
 * Decompresses a body.
 * @throws UnsupportedEncoding
 * @throws BodyTooLarge if the result is larger than `bytesMax`
 * @throws AuthError `invalid_argument` if the body is not in its encoding
 */
export async function decompress(
  encoding: string | undefined,
  body: Uint8Array,
  bytesMax: number,
): Promise<Uint8Array> {
  const name = encoding?.trim().toLowerCase() ?? "identity";
  if (name === "identity" || name === "") return body;
  if (!["gzip", "x-gzip", "deflate"].includes(name)) throw new UnsupportedEncoding();
  // "deflate" is zlib's format (RFC 9110 section 8.4.1.2), but some clients send it without zlib's header.
  const isRaw = name === "deflate" && ((body[0] ?? 0) & 0x0f) !== 8;
  try {
    return await (isRaw ? unpackRaw : unpack)(body, { maxOutputLength: bytesMax });
  } catch (cause) {
    if ((cause as { code?: unknown }).code === "ERR_BUFFER_TOO_LARGE") throw new BodyTooLarge();
    const fault = "unparsable";
    throw new AuthError("invalid_argument", "body cannot be decompressed", { fault, cause });
  }
}
