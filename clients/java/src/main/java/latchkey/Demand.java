package latchkey;

import com.sun.net.httpserver.Filter;
import com.sun.net.httpserver.HttpExchange;
import java.io.IOException;
import java.util.Collections;
import java.util.Set;
import java.util.regex.Pattern;

/**
 * Requires a token in requests to the JDK's HTTP server and answers by RFC 6750 section 3: 401 without a valid one, 403
 * if it lacks a role, 503 if it cannot be checked. The body of a refused request is not read.
 */
public final class Demand extends Filter {
  private static final Pattern BEARER =
      Pattern.compile("bearer +([\\w.~+/-]+=*)", Pattern.CASE_INSENSITIVE);
  private static final String CLAIMS = Claims.class.getName();

  private final Verifier verifier;
  private final Set<String> roles;

  /**
   * @param roles roles of which the user must have one; without any, every user may pass
   */
  public Demand(Verifier verifier, String... roles) {
    this.verifier = verifier;
    this.roles = Set.of(roles);
  }

  /** The claims of a request that this filter has passed on. */
  public static Claims claimsOf(HttpExchange exchange) {
    return (Claims) exchange.getAttribute(CLAIMS);
  }

  @Override
  public String description() {
    return "demands an access token";
  }

  @Override
  public void doFilter(HttpExchange exchange, Chain chain) throws IOException {
    var token = bearerTokenOf(exchange.getRequestHeaders().getFirst("authorization"));
    if (token == null) {
      refuse(exchange, 401, "www-authenticate", "Bearer");
      return;
    }
    Claims claims;
    try {
      claims = verifier.verify(token);
    } catch (TokenRefused refusal) {
      if (refusal.isOutage()) refuse(exchange, 503, "retry-after", "5");
      else refuse(exchange, 401, "www-authenticate", "Bearer error=\"invalid_token\"");
      return;
    }
    if (!hasRole(claims, roles)) {
      refuse(exchange, 403, "www-authenticate", "Bearer error=\"insufficient_scope\"");
      return;
    }
    exchange.setAttribute(CLAIMS, claims);
    chain.doFilter(exchange);
  }

  /** The token by RFC 6750 section 2.1, or null. */
  static String bearerTokenOf(String authorization) {
    var found = BEARER.matcher(authorization == null ? "" : authorization);
    return found.matches() ? found.group(1) : null;
  }

  static boolean hasRole(Claims claims, Set<String> roles) {
    return roles.isEmpty() || !Collections.disjoint(claims.roles(), roles);
  }

  private static void refuse(HttpExchange exchange, int status, String name, String value)
      throws IOException {
    exchange.getResponseHeaders().set(name, value);
    exchange.sendResponseHeaders(status, -1);
    exchange.close();
  }
}
