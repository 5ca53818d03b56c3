package latchkey;

import java.time.Duration;

/** The only error of a token source. Holds no password and no token. */
public final class TokenSourceException extends Exception {
  private static final long serialVersionUID = 1;

  /** The kind of the failure. */
  public enum Code {
    /** The username, the password or the token is not accepted. */
    REFUSED,
    /** Too many failed logins. */
    RATE_LIMITED,
    /** Latchkey does not answer, or answers that it cannot serve now. */
    UNAVAILABLE,
    /** The answer is not Latchkey's, or the request is wrong. */
    PROTOCOL,
    /** The source was closed. */
    CLOSED
  }

  private final Code code;
  private final Duration retryAfter;

  TokenSourceException(Code code, String message, Duration retryAfter) {
    super(message);
    this.code = code;
    this.retryAfter = retryAfter;
  }

  public Code code() {
    return code;
  }

  /** How long Latchkey asks to wait; zero if it does not. */
  public Duration retryAfter() {
    return retryAfter;
  }

  /** Whether the same call may succeed later. */
  public boolean isRetryable() {
    return code == Code.RATE_LIMITED || code == Code.UNAVAILABLE;
  }
}
