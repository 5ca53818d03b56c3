package latchkey;

import com.nimbusds.jose.JOSEException;
import com.nimbusds.jose.JWSObject;
import com.nimbusds.jose.RemoteKeySourceException;
import com.nimbusds.jose.crypto.RSASSAVerifier;
import com.nimbusds.jose.jwk.JWKSet;
import com.nimbusds.jose.jwk.KeyType;
import com.nimbusds.jose.jwk.source.JWKSource;
import com.nimbusds.jose.proc.SecurityContext;
import com.nimbusds.jose.util.JSONObjectUtils;
import java.net.URI;
import java.net.http.HttpClient;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.interfaces.RSAPublicKey;
import java.text.ParseException;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.function.Supplier;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/**
 * Verifies access tokens by the published key set, without a call per token (RFC 7519, RFC 8725). Safe to use from
 * several threads.
 */
public final class Verifier {
  private static final int TOKEN_BYTES_MAX = 8192;
  private static final Pattern COMPACT = Pattern.compile("[\\w-]+\\.[\\w-]+\\.[\\w-]+");
  private static final String REVOCATIONS_TYPE = "latchkey-revocations+jwt";

  /** The age after which the list of revocations is read again before a token is verified. */
  private static final Duration REVOCATIONS_AGE = Duration.ofSeconds(5);

  private final Builder options;
  private final CachedDocument<Keys> keys;
  private final CachedDocument<Revocations> revocations;

  private Verifier(Builder options) {
    this.options = options;
    keys =
        new CachedDocument<>(
            new CachedDocument.Options<>(
                options.http,
                options.jwksUrl,
                options.timeout,
                options.now,
                Verifier::readKeys,
                Duration.ofMinutes(5),
                Duration.ofDays(1),
                null));
    revocations =
        options.revocationsUrl == null
            ? null
            : new CachedDocument<>(
                new CachedDocument.Options<>(
                    options.http,
                    options.revocationsUrl,
                    options.timeout,
                    options.now,
                    this::readRevocations,
                    REVOCATIONS_AGE,
                    REVOCATIONS_AGE,
                    options.revocationsMaxAge.minus(REVOCATIONS_AGE)));
  }

  /**
   * @param issuer {@code iss} of the tokens, compared exactly
   * @param jwksUrl the address of the key set
   */
  public static Builder builder(String issuer, String jwksUrl) {
    return new Builder(issuer, URI.create(jwksUrl));
  }

  /** The options, each with its default. */
  public static final class Builder {
    private final String issuer;
    private final URI jwksUrl;
    private Set<String> audiences = Set.of();
    private Duration leeway = Duration.ofSeconds(10);
    private Set<String> types = Set.of("jwt", "at+jwt");
    private Duration unknownKeyPause = Duration.ofSeconds(10);
    private URI revocationsUrl;
    private Duration revocationsMaxAge = Duration.ofMinutes(1);
    private boolean acceptsWithoutRevocations;
    private Duration timeout = Duration.ofSeconds(5);
    private Supplier<Instant> now = Instant::now;
    private HttpClient http =
        HttpClient.newBuilder().followRedirects(HttpClient.Redirect.NEVER).build();

    private Builder(String issuer, URI jwksUrl) {
      this.issuer = issuer;
      this.jwksUrl = jwksUrl;
    }

    /** The {@code aud} that a token must have; of several, one. Without any, {@code aud} is not checked. */
    public Builder audience(String... accepted) {
      audiences = Set.of(accepted);
      return this;
    }

    /** The allowed clock difference. From 0 to 5 min, default 10 s. */
    public Builder leeway(Duration time) {
      leeway = inRange("leeway", time, Duration.ZERO, Duration.ofMinutes(5));
      return this;
    }

    /** Accepted values of the header's {@code typ}. Default JWT and at+jwt. */
    public Builder types(String... accepted) {
      types = Set.of(accepted).stream().map(Verifier::typeName).collect(Collectors.toSet());
      return this;
    }

    /** The shortest time between two reads because of unknown keys. From 1 s to 1 h, default 10 s. */
    public Builder unknownKeyPause(Duration time) {
      unknownKeyPause =
          inRange("unknownKeyPause", time, Duration.ofSeconds(1), Duration.ofHours(1));
      return this;
    }

    /** The address of the list of revocations. */
    public Builder revocationsUrl(String url) {
      revocationsUrl = URI.create(url);
      return this;
    }

    /** How old a list may be that cannot be read again. From 10 s to 1 day, default 1 min. */
    public Builder revocationsMaxAge(Duration time) {
      revocationsMaxAge =
          inRange("revocationsMaxAge", time, Duration.ofSeconds(10), Duration.ofDays(1));
      return this;
    }

    /** Accepts tokens without such a list. */
    public Builder acceptWithoutRevocations() {
      acceptsWithoutRevocations = true;
      return this;
    }

    /** The deadline of one read. From 100 ms to 1 min, default 5 s. */
    public Builder timeout(Duration time) {
      timeout = inRange("timeout", time, Duration.ofMillis(100), Duration.ofMinutes(1));
      return this;
    }

    public Builder now(Supplier<Instant> clock) {
      now = clock;
      return this;
    }

    public Builder http(HttpClient client) {
      http = client;
      return this;
    }

    public Verifier build() {
      return new Verifier(this);
    }

    private static Duration inRange(String name, Duration value, Duration min, Duration max) {
      if (value.compareTo(min) >= 0 && value.compareTo(max) <= 0) return value;
      throw new IllegalArgumentException(name + " must be from " + min + " to " + max);
    }
  }

  /** Verifies a token and returns its claims. */
  public Claims verify(String token) throws TokenRefused {
    if (token.length() > TOKEN_BYTES_MAX || !COMPACT.matcher(token).matches()) {
      throw new TokenRefused(TokenRefused.Code.MALFORMED);
    }
    var header = headerOf(token);
    var typ = header.get("typ");
    if (header.containsKey("crit") || (typ != null && !options.types.contains(typeName(typ)))) {
      throw new TokenRefused(TokenRefused.Code.TYPE);
    }
    if (!"RS256".equals(header.get("alg"))) throw new TokenRefused(TokenRefused.Code.ALGORITHM);
    var kid = header.get("kid");
    var claims = claimsOf(verifySignature(token, kid));
    var list = currentRevocations();
    if (list != null && list.has(claims, kid)) throw new TokenRefused(TokenRefused.Code.REVOKED);
    return claims;
  }

  /**
   * For Nimbus JOSE+JWT, and Spring Security by a {@code NimbusJwtDecoder}: the keys of this verifier, with its cache.
   * The rest is then up to Nimbus: claims, {@code typ} and revocations are not checked.
   */
  public <C extends SecurityContext> JWKSource<C> jwkSource() {
    return (selector, context) -> {
      try {
        var found = selector.select(keys.value().set);
        if (found.isEmpty() && keys.refresh(options.unknownKeyPause)) {
          found = selector.select(keys.value().set);
        }
        return found;
      } catch (Exception error) {
        throw new RemoteKeySourceException("the key set cannot be read", error);
      }
    };
  }

  private Map<String, Object> verifySignature(String token, Object kid) throws TokenRefused {
    var candidates = candidates(kid);
    // The key may be newer than the cached set. Limited, so that a flood of made-up ids causes no requests.
    if (candidates.isEmpty() && keys.refresh(options.unknownKeyPause)) candidates = candidates(kid);
    if (candidates.isEmpty()) throw new TokenRefused(TokenRefused.Code.UNKNOWN_KEY);
    try {
      var parsed = JWSObject.parse(token);
      for (var key : candidates) {
        if (!parsed.verify(new RSASSAVerifier(key))) continue;
        var claims = parsed.getPayload().toJSONObject();
        if (claims == null) throw new TokenRefused(TokenRefused.Code.MALFORMED);
        return claims;
      }
    } catch (ParseException | JOSEException error) {
      throw new TokenRefused(TokenRefused.Code.MALFORMED);
    }
    throw new TokenRefused(TokenRefused.Code.SIGNATURE);
  }

  /** The keys that may have signed a token. Without a {@code kid}, as in tokens of old servers, that is any key. */
  private Collection<RSAPublicKey> candidates(Object kid) throws TokenRefused {
    Map<String, RSAPublicKey> known;
    try {
      known = keys.value().byId;
    } catch (Exception error) {
      throw new TokenRefused(TokenRefused.Code.KEYS_UNAVAILABLE);
    }
    if (kid == null) return known.values();
    var key = kid instanceof String name ? known.get(name) : null;
    return key == null ? List.of() : List.of(key);
  }

  private Claims claimsOf(Map<String, Object> payload) throws TokenRefused {
    if (!options.issuer.equals(payload.get("iss"))) {
      throw new TokenRefused(TokenRefused.Code.ISSUER);
    }
    var aud = payload.get("aud");
    var given = aud instanceof List<?> list ? list : aud == null ? List.of() : List.of(aud);
    if (!options.audiences.isEmpty() && given.stream().noneMatch(options.audiences::contains)) {
      throw new TokenRefused(TokenRefused.Code.AUDIENCE);
    }
    var roles = textsOf(payload.getOrDefault("roles", List.of()));
    var isNumber = payload.get("nbf") == null || payload.get("nbf") instanceof Number;
    if (!(payload.get("sub") instanceof String subject)
        || subject.isEmpty()
        || !(payload.get("exp") instanceof Number exp)
        || !(payload.get("iat") instanceof Number iat)
        || !isNumber
        || roles == null) {
      throw new TokenRefused(TokenRefused.Code.CLAIMS);
    }
    var latest = options.now.get().plus(options.leeway);
    var notBefore = payload.get("nbf") instanceof Number nbf ? instantOf(nbf) : instantOf(iat);
    if (instantOf(iat).isAfter(latest) || notBefore.isAfter(latest)) {
      throw new TokenRefused(TokenRefused.Code.NOT_YET_VALID);
    }
    if (!instantOf(exp).isAfter(options.now.get().minus(options.leeway))) {
      throw new TokenRefused(TokenRefused.Code.EXPIRED);
    }
    return new Claims(
        subject,
        options.issuer,
        instantOf(exp),
        instantOf(iat),
        payload.get("jti") instanceof String id ? id : null,
        payload.get("auth_time") instanceof Number since ? instantOf(since) : null,
        roles,
        payload);
  }

  private Revocations currentRevocations() throws TokenRefused {
    if (revocations == null) return null;
    try {
      return revocations.value();
    } catch (Exception error) {
      if (options.acceptsWithoutRevocations) return null;
      throw new TokenRefused(TokenRefused.Code.REVOCATIONS_UNAVAILABLE);
    }
  }

  /** Users by a keyed digest of {@code sub}, with the second up to which their tokens are refused; and keys. */
  private record Revocations(String salt, Map<String, Object> users, List<String> keys) {
    boolean has(Claims claims, Object kid) {
      if (keys.contains(kid)) return true;
      if (users.isEmpty()) return false;
      var at = users.get(digest(claims.subject()));
      return at instanceof Number seconds && !claims.issued().isAfter(instantOf(seconds));
    }

    private String digest(String subject) {
      try {
        var mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(salt.getBytes(StandardCharsets.UTF_8), "HmacSHA256"));
        var bytes = mac.doFinal(subject.getBytes(StandardCharsets.UTF_8));
        return Base64.getUrlEncoder().encodeToString(bytes).substring(0, 22);
      } catch (GeneralSecurityException impossible) {
        throw new IllegalStateException(impossible);
      }
    }
  }

  private Revocations readRevocations(String body) throws TokenRefused, ParseException {
    var token = body.strip();
    var header = headerOf(token);
    if (!REVOCATIONS_TYPE.equals(header.get("typ")) || !"RS256".equals(header.get("alg"))) {
      throw new TokenRefused(TokenRefused.Code.TYPE);
    }
    var payload = verifySignature(token, header.get("kid"));
    var isExpired =
        !(payload.get("exp") instanceof Number exp)
            || instantOf(exp).isBefore(options.now.get().minusSeconds(60));
    if (isExpired || !options.issuer.equals(payload.get("iss"))) {
      throw new TokenRefused(TokenRefused.Code.EXPIRED);
    }
    var salt = JSONObjectUtils.getString(payload, "salt");
    var users = JSONObjectUtils.getJSONObject(payload, "users");
    var revokedKeys = textsOf(payload.get("keys"));
    if (salt == null || users == null || revokedKeys == null) {
      throw new TokenRefused(TokenRefused.Code.CLAIMS);
    }
    return new Revocations(salt, users, revokedKeys);
  }

  private record Keys(JWKSet set, Map<String, RSAPublicKey> byId) {}

  private static Keys readKeys(String body) throws ParseException, JOSEException {
    var set = JWKSet.parse(body);
    var found = new LinkedHashMap<String, RSAPublicKey>();
    for (var jwk : set.getKeys()) {
      var use = jwk.getKeyUse() == null ? "sig" : jwk.getKeyUse().identifier();
      if (jwk.getKeyType() == KeyType.RSA && use.equals("sig")) {
        found.put(jwk.getKeyID(), jwk.toRSAKey().toRSAPublicKey());
      }
    }
    return new Keys(set, found);
  }

  /** The header, which is NOT verified yet. */
  private static Map<String, Object> headerOf(String token) throws TokenRefused {
    try {
      return JSONObjectUtils.parse(Calls.decoded(token.split("\\.")[0]));
    } catch (ParseException | RuntimeException error) {
      throw new TokenRefused(TokenRefused.Code.MALFORMED);
    }
  }

  /** RFC 7515 section 4.1.9: {@code application/} may be missing, and the type is not case-sensitive. */
  private static String typeName(Object typ) {
    return String.valueOf(typ).toLowerCase(Locale.ROOT).replaceFirst("^application/", "");
  }

  /** A list of strings, or null if it is not one. */
  private static List<String> textsOf(Object claim) {
    if (!(claim instanceof List<?> list)) return null;
    var texts = new ArrayList<String>();
    for (var each : list) {
      if (!(each instanceof String text)) return null;
      texts.add(text);
    }
    return List.copyOf(texts);
  }

  private static Instant instantOf(Number seconds) {
    return Instant.ofEpochMilli((long) (seconds.doubleValue() * 1000));
  }
}
