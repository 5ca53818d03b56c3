package latchkey;

import com.nimbusds.jose.util.JSONObjectUtils;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.text.ParseException;
import java.time.Duration;
import java.util.Base64;
import java.util.List;
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
    if (response.statusCode() / 100 != 2) throw failureOf(response, body);
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

  private static TokenSourceException failureOf(
      HttpResponse<?> response, Map<String, Object> body) {
    var code = body.get("code");
    var status = response.statusCode();
    var retryAfter =
        response
            .headers()
            .firstValue("retry-after")
            .filter(value -> value.matches("\\d{1,9}"))
            .map(value -> Duration.ofSeconds(Long.parseLong(value)))
            .orElseGet(() -> retryInfo(body.get("details")));
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

  /** The {@code retry_delay} of a google.rpc.RetryInfo among the details of a Connect error. */
  private static Duration retryInfo(Object details) {
    var delay = Duration.ZERO;
    for (var detail : details instanceof List<?> list ? list : List.of()) {
      if (!(detail instanceof Map<?, ?> info) || !"google.rpc.RetryInfo".equals(info.get("type"))) {
        continue;
      }
      try {
        var bytes = ByteBuffer.wrap(Base64.getDecoder().decode(String.valueOf(info.get("value"))));
        // After the tag and the length of the duration: its seconds (1) and nanoseconds (2), as varints.
        bytes.position(2);
        while (bytes.hasRemaining()) {
          var isSeconds = bytes.get() >> 3 == 1;
          long value = 0;
          byte part;
          int shift = 0;
          do {
            part = bytes.get();
            value |= (long) (part & 127) << shift;
            shift += 7;
          } while (part < 0);
          delay = isSeconds ? delay.plusSeconds(value) : delay.plusNanos(value);
        }
      } catch (RuntimeException none) {
        return Duration.ZERO;
      }
    }
    return delay;
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
