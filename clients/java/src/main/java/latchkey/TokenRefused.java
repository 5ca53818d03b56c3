package latchkey;

import java.util.Locale;

/** The only error of a verifier. */
public final class TokenRefused extends Exception {
  private static final long serialVersionUID = 1;

  /** Why a token is refused. */
  public enum Code {
    /** It is not a JSON Web Token, or longer than 8 KiB. */
    MALFORMED,
    /** The header has another {@code alg} than RS256. */
    ALGORITHM,
    /** The header has a {@code typ} or {@code crit} that is not accepted. */
    TYPE,
    /** No published key has the {@code kid}. */
    UNKNOWN_KEY,
    /** The key has not signed the token. */
    SIGNATURE,
    ISSUER,
    AUDIENCE,
    /** A claim is missing or has another form. */
    CLAIMS,
    EXPIRED,
    /** By {@code iat} or {@code nbf}. */
    NOT_YET_VALID,
    REVOKED,
    /** The token could not be checked, because the key set cannot be read: answer 503, not 401. */
    KEYS_UNAVAILABLE,
    /** The token could not be checked, because the revocations cannot be read: answer 503, not 401. */
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

  /** Whether the token could not be checked, so that it may be valid. */
  public boolean isOutage() {
    return code == Code.KEYS_UNAVAILABLE || code == Code.REVOCATIONS_UNAVAILABLE;
  }
}
