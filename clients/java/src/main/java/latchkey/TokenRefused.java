package latchkey;

import java.util.Locale;

/** The only error of a verifier. */
public final class TokenRefused extends Exception {
  private static final long serialVersionUID = 1;

  /** Why a token is refused. */
  public enum Code {
    /** No JSON Web Token, or longer than 8 KiB. */
    MALFORMED,
    /** Its header says anything but RS256. */
    ALGORITHM,
    /** A {@code typ} or {@code crit} that is not accepted. */
    TYPE,
    /** No published key has its {@code kid}. */
    UNKNOWN_KEY,
    /** That key has not signed it. */
    SIGNATURE,
    ISSUER,
    AUDIENCE,
    /** A claim is missing or has another form. */
    CLAIMS,
    EXPIRED,
    /** By {@code iat} or {@code nbf}. */
    NOT_YET_VALID,
    REVOKED,
    /** Nothing is known of the token: answer 503, not 401. */
    KEYS_UNAVAILABLE,
    /** The same. */
    REVOCATIONS_UNAVAILABLE
  }

  private final Code code;

  TokenRefused(Code code) {
    super("token refused: " + code.name().toLowerCase(Locale.ROOT).replace('_', ' '));
    this.code = code;
  }

  public Code code() {
    return code;
  }

  /** Whether the token may be good: it could not be checked. */
  public boolean isOutage() {
    return code == Code.KEYS_UNAVAILABLE || code == Code.REVOCATIONS_UNAVAILABLE;
  }
}
