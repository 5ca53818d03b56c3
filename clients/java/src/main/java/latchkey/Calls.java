package latchkey;

import com.nimbusds.jose.util.JSONObjectUtils;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.text.ParseException;
import java.time.Duration;
import java.util.Base64;
import java.util.Map;

/** The calls of auth.v1.AuthService, in the Connect protocol with JSON. */
final class Calls {
  private static final int ANSWER_BYTES_MAX = 65_536;

  private final HttpClient http;
  private final String baseUrl;

  Calls(HttpClient http, String baseUrl) {
    this.http = http;
    this.baseUrl = baseUrl.replaceAll("/+$", "");
  }

  String login(Credentials credentials, Duration timeout)
      throws TokenSourceException, IOException, InterruptedException {
    var message = Map.of("username", credentials.username(), "password", credentials.password());
    return call("Login", JSONObjectUtils.toJSONString(message), timeout, null);
  }

  String issueToken(String bearer, Duration timeout)
      throws TokenSourceException, IOException, InterruptedException {
    return call("IssueToken", "{}", timeout, bearer);
  }

  private String call(String method, String message, Duration timeout, String bearer)
      throws TokenSourceException, IOException, InterruptedException {
    var uri = URI.create(baseUrl + "/auth.v1.AuthService/" + method);
    var request =
        HttpRequest.newBuilder(uri)
            .timeout(timeout)
            .header("content-type", "application/json")
            .header("connect-protocol-version", "1")
            .header("connect-timeout-ms", String.valueOf(Math.max(1, timeout.toMillis())))
            .POST(HttpRequest.BodyPublishers.ofString(message));
    if (bearer != null) request.header("authorization", "Bearer " + bearer);
    var response = http.send(request.build(), HttpResponse.BodyHandlers.ofInputStream());
    Map<String, Object> body;
    try (var stream = response.body()) {
      var text = new String(stream.readNBytes(ANSWER_BYTES_MAX), StandardCharsets.UTF_8);
      body = parse(text);
    }
    if (response.statusCode() / 100 != 2) throw failureOf(response, body.get("code"));
    if (body.get("accessToken") instanceof String token && !lifeOf(token).isZero()) return token;
    throw new TokenSourceException(
        TokenSourceException.Code.PROTOCOL, uri + " answers with no token", Duration.ZERO);
  }

  private static Map<String, Object> parse(String text) {
    try {
      return JSONObjectUtils.parse(text);
    } catch (ParseException none) {
      return Map.of();
    }
  }

  private static TokenSourceException failureOf(HttpResponse<?> response, Object code) {
    var status = response.statusCode();
    var retryAfter =
        response
            .headers()
            .firstValue("retry-after")
            .filter(value -> value.matches("\\d{1,9}"))
            .map(value -> Duration.ofSeconds(Long.parseLong(value)))
            .orElse(Duration.ZERO);
    if ("unauthenticated".equals(code)) {
      return new TokenSourceException(
          TokenSourceException.Code.REFUSED, "Latchkey refuses the credentials", retryAfter);
    }
    if ("resource_exhausted".equals(code) || status == 429) {
      return new TokenSourceException(
          TokenSourceException.Code.RATE_LIMITED,
          "Latchkey has had too many failed logins",
          retryAfter);
    }
    if ("invalid_argument".equals(code) || "unimplemented".equals(code) || status == 404) {
      return new TokenSourceException(
          TokenSourceException.Code.PROTOCOL,
          "Latchkey does not understand the request",
          retryAfter);
    }
    return new TokenSourceException(
        TokenSourceException.Code.UNAVAILABLE, "Latchkey answers " + status, retryAfter);
  }

  /** {@code exp - iat}, or zero. The claims are read but NOT verified: the token came from Latchkey itself. */
  static Duration lifeOf(String token) {
    try {
      var claims = JSONObjectUtils.parse(decoded(token.split("\\.")[1]));
      var seconds = JSONObjectUtils.getDouble(claims, "exp") - JSONObjectUtils.getDouble(claims, "iat");
      return seconds > 0 ? Duration.ofMillis((long) (seconds * 1000)) : Duration.ZERO;
    } catch (ParseException | RuntimeException none) {
      return Duration.ZERO;
    }
  }

  static String decoded(String part) {
    return new String(Base64.getUrlDecoder().decode(part), StandardCharsets.UTF_8);
  }
}
