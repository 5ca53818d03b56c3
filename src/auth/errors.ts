/**
 * The codes of every refusal and fault of the domain, with the answer of each surface. Depends on
 * nothing.
 */

export type AuthErrorCode =
  | "invalid_argument"
  | "invalid_credentials"
  | "token_invalid"
  | "token_expired"
  | "rate_limited"
  | "overloaded"
  | "store_unavailable"
  | "internal";

/** The names of the RPC codes that the service answers with, as the Connect protocol spells them. */
export type RpcCode =
  "invalid_argument" | "unauthenticated" | "resource_exhausted" | "unavailable" | "internal";

/** What the surfaces answer for one domain code. */
export interface ErrorAnswer {
  readonly rpc: RpcCode;
  /** HTTP status of `POST /api/auth/token`. */
  readonly token: number;
  /** HTTP status of `POST /api/v1/authentication/login`. */
  readonly login: number;
  /**
   * The only text that a caller sees. Codes that share an `rpc` code for secrecy share the text
   * too.
   */
  readonly message: string;
}

const refused = {
  rpc: "unauthenticated",
  token: 403,
  login: 401,
  message: "invalid credentials",
} as const;

export const errorAnswers = {
  invalid_argument: {
    rpc: "invalid_argument",
    token: 403,
    login: 400,
    message: "invalid argument",
  },
  invalid_credentials: refused,
  token_invalid: refused,
  token_expired: refused,
  rate_limited: {
    rpc: "resource_exhausted",
    token: 429,
    login: 429,
    message: "too many failed attempts, try again later",
  },
  overloaded: {
    rpc: "unavailable",
    token: 503,
    login: 503,
    message: "overloaded, try again later",
  },
  store_unavailable: {
    rpc: "unavailable",
    token: 500,
    login: 503,
    message: "temporarily unavailable, try again later",
  },
  internal: { rpc: "internal", token: 500, login: 500, message: "internal error" },
} as const satisfies Record<AuthErrorCode, ErrorAnswer>;

/** What is wrong with an argument. `missing` also means empty, or of another type. */
export type ArgumentFault = "unparsable" | "missing" | "too_long";

export const argumentFaultMessages = {
  unparsable: "the request message cannot be parsed",
  missing: "username and password are required",
  too_long: "username or password is too long",
} as const satisfies Record<ArgumentFault, string>;

export interface AuthErrorOptions extends ErrorOptions {
  /** Set where the code is `invalid_argument`. */
  readonly fault?: ArgumentFault;
  /** Seconds after which a retry makes sense; set for temporary faults. */
  readonly retryAfterSeconds?: number;
  /**
   * True if the store's call certainly wrote nothing, for example because a validator refused it.
   */
  readonly wroteNothing?: boolean;
}

/**
 * A refusal or fault with a code to branch on. Its `message` is for our logs and never for the wire:
 * what a caller sees is in {@link errorAnswers}.
 */
export class AuthError extends Error {
  override readonly name = "AuthError";
  readonly code: AuthErrorCode;
  readonly fault: ArgumentFault | undefined;
  readonly retryAfterSeconds: number | undefined;
  readonly wroteNothing: boolean;

  constructor(code: AuthErrorCode, message: string, options: AuthErrorOptions = {}) {
    super(message, options);
    this.code = code;
    this.fault = options.fault;
    this.retryAfterSeconds = options.retryAfterSeconds;
    this.wroteNothing = options.wroteNothing ?? false;
  }

  /** Returns an AuthError as it is; any other error becomes the cause of an `internal` one. */
  static from(error: unknown): AuthError {
    return error instanceof AuthError
      ? error
      : new AuthError("internal", "unexpected error", { cause: error });
  }
}

/**
 * Throws the error of a later write of one change. Drops `wroteNothing`, which is true of that
 * write alone: earlier writes were done.
 */
export function afterWrites(error: unknown): never {
  if (!(error instanceof AuthError && error.wroteNothing)) throw error;
  const { code, message, cause, retryAfterSeconds } = error;
  throw new AuthError(code, message, {
    cause,
    ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
  });
}
