/**
 * One call of Latchkey: `Login` or `IssueToken` of auth.v1.AuthService, in the Connect protocol with JSON, which
 * needs only `fetch`. Depends on nothing.
 */

export interface Credentials {
  readonly username: string;
  readonly password: string;
}

/** A token that Latchkey has issued. */
export interface Grant {
  readonly accessToken: string;
  /** Its lifetime, `exp - iat`, which does not depend on the local clock. */
  readonly lifeMs: number;
  /** When the request was sent, by the local clock. */
  readonly sentAtMs: number;
}

/**
 * - `refused`: the username, the password or the token is not accepted;
 * - `rate_limited`: too many failed logins;
 * - `unavailable`: Latchkey does not answer, or answers that it cannot serve now;
 * - `closed`: the source was closed;
 * - `protocol`: the answer is not Latchkey's, or the request is wrong.
 */
export type TokenSourceErrorCode =
  "refused" | "rate_limited" | "unavailable" | "closed" | "protocol";

/** The only error of a token source. Holds no password and no token. */
export class TokenSourceError extends Error {
  override readonly name = "TokenSourceError";
  readonly code: TokenSourceErrorCode;
  /** How long Latchkey asks to wait; undefined if it does not. */
  readonly retryAfterMs: number | undefined;

  constructor(
    code: TokenSourceErrorCode,
    message: string,
    { retryAfterMs, cause }: { retryAfterMs?: number | undefined; cause?: unknown } = {},
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.retryAfterMs = retryAfterMs;
  }

  /** Whether the same call may succeed later. */
  get isRetryable(): boolean {
    return this.code === "rate_limited" || this.code === "unavailable";
  }

  /** Wraps any error of a call or of the caller's own function. */
  static from(cause: unknown): TokenSourceError {
    if (cause instanceof TokenSourceError) return cause;
    return new TokenSourceError("unavailable", "Latchkey cannot be asked", { cause });
  }
}

export interface LatchkeyCall {
  readonly baseUrl: string;
  readonly timeoutMs: number;
  readonly sentAtMs: number;
  readonly signal: AbortSignal;
  readonly fetch?: typeof fetch;
  readonly password?: Credentials;
  readonly bearer?: string;
}

const answerCharactersMax = 65_536;

/** Calls `IssueToken` if there is a `bearer`, else `Login`. @throws TokenSourceError */
export async function callLatchkey(call: LatchkeyCall): Promise<Grant> {
  const { baseUrl, timeoutMs, bearer, password, sentAtMs } = call;
  const method = bearer === undefined ? "Login" : "IssueToken";
  const url = `${baseUrl.replace(/\/+$/, "")}/auth.v1.AuthService/${method}`;
  const timeout = Math.min(Math.ceil(timeoutMs), 2 ** 31 - 1);
  let response: Response;
  let body: unknown;
  try {
    response = await (call.fetch ?? fetch)(url, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        "connect-protocol-version": "1",
        "connect-timeout-ms": String(timeout),
        ...(bearer !== undefined && { authorization: `Bearer ${bearer}` }),
      },
      body: JSON.stringify(password ?? {}),
      // Credentials must go to the configured address only.
      redirect: "error",
      signal: AbortSignal.any([call.signal, AbortSignal.timeout(timeout)]),
    });
    body = parse(await readText(response));
  } catch (cause) {
    throw new TokenSourceError("unavailable", "Latchkey does not answer", { cause });
  }
  if (!response.ok) throw errorOf(response, body);
  const { accessToken } = (body ?? {}) as { accessToken?: unknown };
  const lifeMs = typeof accessToken === "string" ? lifeMsOf(accessToken) : undefined;
  if (typeof accessToken !== "string" || lifeMs === undefined) {
    throw new TokenSourceError("protocol", `${url} answers with no token`);
  }
  return { accessToken, lifeMs, sentAtMs };
}

async function readText({ body }: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  const reader = body?.getReader();
  for (;;) {
    const part = (await reader?.read()) as { value?: Uint8Array } | undefined;
    if (part?.value === undefined) return text + decoder.decode();
    text += decoder.decode(part.value, { stream: true });
    if (text.length > answerCharactersMax) {
      await reader?.cancel();
      return "";
    }
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function errorOf(response: Response, body: unknown): TokenSourceError {
  const { code, details } = (body ?? {}) as { code?: unknown; details?: unknown };
  const seconds = Number(response.headers.get("retry-after") ?? Number.NaN);
  const retryAfterMs = Number.isFinite(seconds) ? Math.max(0, seconds * 1000) : undefined;
  const options = { retryAfterMs: retryAfterMs ?? retryInfoMsOf(details) };
  if (code === "unauthenticated") {
    return new TokenSourceError("refused", "Latchkey refuses the credentials", options);
  }
  if (code === "resource_exhausted" || response.status === 429) {
    return new TokenSourceError("rate_limited", "Latchkey has had too many failed logins", options);
  }
  if (code === "invalid_argument" || code === "unimplemented" || response.status === 404) {
    return new TokenSourceError("protocol", "Latchkey does not understand the request", options);
  }
  return new TokenSourceError("unavailable", `Latchkey answers ${response.status}`, options);
}

/** The `retry_delay` of a google.rpc.RetryInfo among the details of a Connect error. */
function retryInfoMsOf(details: unknown): number | undefined {
  if (!Array.isArray(details)) return undefined;
  const all = details as readonly (Record<string, unknown> | null)[];
  const info = all.find((detail) => detail?.["type"] === "google.rpc.RetryInfo");
  try {
    const text = atob(String(info?.["value"]));
    const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
    // After the tag and the length of the duration: its seconds (1) and nanoseconds (2), as varints.
    let ms: number | undefined;
    for (let at = 2; at < bytes.length;) {
      const field = (bytes[at++] ?? 0) >> 3;
      let value = 0;
      for (let unit = 1, more = true; more; unit *= 128) {
        const byte = bytes[at++] ?? 0;
        value += (byte & 127) * unit;
        more = byte > 127;
      }
      ms = (ms ?? 0) + (field === 1 ? value * 1000 : value / 1e6);
    }
    return ms;
  } catch {
    return undefined;
  }
}

/** The lifetime by the token's claims, which are read but NOT verified: the token came from Latchkey itself. */
function lifeMsOf(token: string): number | undefined {
  try {
    const [, claims = ""] = token.split(".");
    const base64 = claims.replaceAll("-", "+").replaceAll("_", "/");
    const { exp, iat } = JSON.parse(atob(base64)) as { exp?: unknown; iat?: unknown };
    const life = (Number(exp) - Number(iat)) * 1000;
    return life > 0 && Number.isFinite(life) ? life : undefined;
  } catch {
    return undefined;
  }
}
