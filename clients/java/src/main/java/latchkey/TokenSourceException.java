package latchkey;

import java.time.Duration;

/** The only error of a token source. Holds no password and no token. */
public final class TokenSourceException extends Exception {
  private static final long serialVersionUID = 1;

  /** What kind of failure it was. */
  public enum Code {
    /** The username, the password or the token is not accepted. */
    REFUSED,
    /** Too many failed logins. */
    RATE_LIMITED,
    /** Latchkey does not answer, or cannot. */
    UNAVAILABLE,
    /** What answers is no Latchkey, or the request is wrong. */
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

  /** How long Latchkey asks to wait, zero where it does not. */
  public Duration retryAfter() {
    return retryAfter;
  }

  /** Whether asking again may help without anybody's doing. */
  public boolean isRetryable() {
    return code == Code.RATE_LIMITED || code == Code.UNAVAILABLE;
  }
}
