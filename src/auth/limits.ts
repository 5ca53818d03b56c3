/** Limits on what a client may send. Every surface takes them from here. Depends on nothing. */

/** A username, in Unicode code points. */
export const usernameCodePointsMax = 256;
/** A password, in bytes of UTF-8. */
export const passwordBytesMax = 1024;
/** A token, in characters, each of which is one byte. */
export const tokenBytesMax = 8192;
/** A request body or message in bytes, as sent and as decompressed. */
export const requestBytesMax = 65_536;
/** The header section of a request, in bytes. */
export const headerBytesMax = 16_384;
