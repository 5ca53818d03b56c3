package example;

import com.nimbusds.jose.util.JSONObjectUtils;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import latchkey.Credentials;
import latchkey.Demand;
import latchkey.TokenSource;
import latchkey.Verifier;

/**
 * A service with the kit: it requires a token of its callers, and calls each of its PEERS ten times a second with its
 * own. {@code /counts} shows the results.
 */
public final class Service {
  private static final AtomicInteger CALLS = new AtomicInteger();
  private static final AtomicInteger FAILED = new AtomicInteger();
  private static final AtomicInteger RENEWALS = new AtomicInteger();
  private static final AtomicInteger FAILED_RENEWALS = new AtomicInteger();
  private static volatile String lastFailure = "";

  public static void main(String[] args) throws Exception {
    var url = getenv("LATCHKEY_URL", "http://127.0.0.1:8080");
    var credentials =
        new Credentials(
            getenv("LATCHKEY_USERNAME", "TestUser"), getenv("LATCHKEY_PASSWORD", "password"));
    var source =
        TokenSource.builder(url, () -> credentials)
            .renewAt(Double.parseDouble(getenv("RENEW_AT", "0.8")))
            .onEvent(
                (event, failure) -> {
                  if (event.equals("renewed")) RENEWALS.incrementAndGet();
                  if (event.equals("failed")) FAILED_RENEWALS.incrementAndGet();
                })
            .build();
    var issuer = getenv("LATCHKEY_ISSUER", "NomicGameManager.Api");
    var verifier =
        Verifier.builder(issuer, url + "/.well-known/jwks.json")
            .revocationsUrl(url + "/.well-known/revocations")
            // How long an outage of Latchkey has no effect.
            .revocationsMaxAge(Duration.ofMinutes(2))
            .build();

    var port = Integer.parseInt(getenv("PORT", "3000"));
    var server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 0);
    server.setExecutor(Executors.newCachedThreadPool());
    server
        .createContext("/", exchange -> answer(exchange, "hello " + Demand.claimsOf(exchange).subject()))
        .getFilters()
        .add(new Demand(verifier));
    server.createContext("/counts", exchange -> answer(exchange, counts()));
    server.start();

    var client = HttpClient.newHttpClient();
    var peers = getenv("PEERS", "").split(",");
    var calls = Executors.newScheduledThreadPool(peers.length);
    for (var peer : peers) {
      if (peer.isEmpty()) continue;
      calls.scheduleAtFixedRate(
          () -> call(source, client, URI.create(peer)), 0, 100, TimeUnit.MILLISECONDS);
    }
  }

  private static void call(TokenSource source, HttpClient client, URI peer) {
    var request = HttpRequest.newBuilder(peer).timeout(Duration.ofSeconds(10)).build();
    CALLS.incrementAndGet();
    try {
      var response = source.send(client, request, HttpResponse.BodyHandlers.ofString());
      if (response.statusCode() != 200) throw new IOException("status " + response.statusCode());
    } catch (Exception error) {
      FAILED.incrementAndGet();
      lastFailure = peer + ": " + error;
    }
  }

  private static String counts() {
    return JSONObjectUtils.toJSONString(
        Map.of(
            "calls", CALLS,
            "failed", FAILED,
            "lastFailure", lastFailure,
            "renewals", RENEWALS,
            "failedRenewals", FAILED_RENEWALS));
  }

  private static void answer(HttpExchange exchange, String text) throws IOException {
    var body = text.getBytes();
    exchange.sendResponseHeaders(200, body.length);
    try (var stream = exchange.getResponseBody()) {
      stream.write(body);
    }
  }

  private static String getenv(String name, String fallback) {
    return System.getenv().getOrDefault(name, fallback);
  }
}
