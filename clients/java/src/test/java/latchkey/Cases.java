package latchkey;

import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.RemoteKeySourceException;
import com.nimbusds.jose.proc.BadJOSEException;
import com.nimbusds.jose.proc.BadJWSException;
import com.nimbusds.jose.proc.JWSVerificationKeySelector;
import com.nimbusds.jose.proc.SecurityContext;
import com.nimbusds.jose.shaded.gson.Gson;
import com.nimbusds.jose.shaded.gson.GsonBuilder;
import com.nimbusds.jose.shaded.gson.JsonElement;
import com.nimbusds.jose.shaded.gson.JsonObject;
import com.nimbusds.jose.shaded.gson.JsonParser;
import com.nimbusds.jose.shaded.gson.JsonPrimitive;
import com.nimbusds.jwt.proc.DefaultJWTProcessor;
import com.sun.net.httpserver.HttpServer;
import io.grpc.CallOptions;
import io.grpc.ClientInterceptors;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.ServerServiceDefinition;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.MetadataUtils;
import io.grpc.stub.ServerCalls;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/**
 * Runs the cases of ../cases.json on the client and the verifier; ../README.md describes the steps. LATCHKEY_CONTROL is
 * the address of the test that controls the server.
 */
public final class Cases {
  private static final String CONTROL = System.getenv("LATCHKEY_CONTROL");
  private static final HttpClient HTTP = HttpClient.newHttpClient();
  private static final Gson GSON = new GsonBuilder().serializeNulls().create();
  private static final Duration WAIT = Duration.ofSeconds(30);
  private static final ExecutorService POOL =
      Executors.newCachedThreadPool(
          work -> {
            var thread = new Thread(work);
            thread.setDaemon(true);
            return thread;
          });

  private interface Run extends AutoCloseable {
    void step(String name, JsonElement value) throws Exception;

    @Override
    void close();
  }

  private interface NewRun {
    Run start(JsonObject start, JsonObject options);
  }

  public static void main(String[] args) throws Exception {
    var table = JsonParser.parseString(Files.readString(Path.of("../cases.json"))).getAsJsonObject();
    var kinds = new HashMap<String, NewRun>();
    kinds.put("clients", ClientRun::new);
    kinds.put("verifiers", VerifierRun::new);
    kinds.put("nimbus", NimbusRun::new);
    int passed = 0;
    int failed = 0;
    for (var kind : List.of("clients", "verifiers", "nimbus")) {
      for (var each : table.getAsJsonArray(kind.equals("clients") ? kind : "verifiers")) {
        // Keys are all that Nimbus has from the verifier.
        var isOfKeys = each.toString().contains("\"keys\"") && !each.toString().contains("revocations");
        if (kind.equals("nimbus") && !isOfKeys) continue;
        var fault = play(kinds.get(kind), each.getAsJsonObject());
        if (fault == null) passed++;
        else {
          failed++;
          System.out.println("FAILED " + each.getAsJsonObject().get("id") + " " + fault);
        }
      }
    }
    System.out.println(passed + " passed, " + failed + " failed");
    System.exit(failed == 0 ? 0 : 1);
  }

  private static String play(NewRun kind, JsonObject row) throws Exception {
    var options = row.has("options") ? row.getAsJsonObject("options") : new JsonObject();
    try (var run = kind.start(command("case", null), options)) {
      for (var step : row.getAsJsonArray("steps")) {
        for (var part : step.getAsJsonObject().entrySet()) {
          try {
            run.step(part.getKey(), part.getValue());
          } catch (Exception | AssertionError fault) {
            return "at " + step + ": " + fault;
          }
        }
      }
    }
    return null;
  }

  private static JsonObject command(String name, Object value) throws Exception {
    var body = value == null ? "" : GSON.toJson(value);
    var request =
        HttpRequest.newBuilder(URI.create(CONTROL + "/" + name))
            .POST(HttpRequest.BodyPublishers.ofString(body))
            .build();
    var response = HTTP.send(request, HttpResponse.BodyHandlers.ofString());
    require(response.statusCode() == 200, response.body());
    return JsonParser.parseString(response.body()).getAsJsonObject();
  }

  private static void require(boolean isSo, Object message) {
    if (!isSo) throw new AssertionError(message);
  }

  /** Sends messages as they are, and does not read any. */
  static final MethodDescriptor.Marshaller<byte[]> BYTES =
      new MethodDescriptor.Marshaller<>() {
        @Override
        public InputStream stream(byte[] value) {
          return new ByteArrayInputStream(value);
        }

        @Override
        public byte[] parse(InputStream stream) {
          return new byte[0];
        }
      };

  /** A clock that only the test moves. */
  private static final class MovedClock implements Clock {
    private record Due(Instant at, Runnable work) {}

    private final List<Due> due = new ArrayList<>();
    private Instant now;

    MovedClock(Instant now) {
      this.now = now;
    }

    @Override
    public synchronized Instant now() {
      return now;
    }

    @Override
    public synchronized Runnable timer(Duration delay, Runnable work) {
      var entry = new Due(now.plus(delay), work);
      due.add(entry);
      return () -> {
        synchronized (this) {
          due.remove(entry);
        }
      };
    }

    @Override
    public synchronized void sleep(Duration delay, CompletableFuture<Void> closing)
        throws InterruptedException {
      var until = now.plus(delay);
      while (now.isBefore(until) && !closing.isDone()) wait(50);
    }

    void advance(Duration time) {
      List<Due> ready;
      synchronized (this) {
        now = now.plus(time);
        ready = due.stream().filter(each -> !each.at.isAfter(now)).toList();
        due.removeAll(ready);
        notifyAll();
      }
      ready.forEach(each -> each.work.run());
    }
  }

  private static Duration seconds(JsonElement value) {
    return Duration.ofMillis(Math.round(value.getAsDouble() * 1000));
  }

  private static void expectCounts(JsonObject wanted) throws Exception {
    var deadline = System.nanoTime() + WAIT.toNanos();
    for (; ; ) {
      command("settle", null);
      var counts = command("counts", null);
      var isShort = false;
      var isSame = true;
      for (var name : wanted.keySet()) {
        var difference = counts.get(name).getAsInt() - wanted.get(name).getAsInt();
        isShort |= difference < 0;
        isSame &= difference == 0;
      }
      if (isSame) break;
      require(isShort && System.nanoTime() < deadline, counts);
    }
    command("clear", null);
  }

  /** Runs the steps that concern the server; false for any other. */
  private static boolean moveServer(MovedClock clock, String name, JsonElement value)
      throws Exception {
    switch (name) {
      case "advance" -> {
        command("advance", value);
        clock.advance(seconds(value));
        command("settle", null);
      }
      case "skew" -> clock.advance(seconds(value));
      case "calls", "reads" -> expectCounts(value.getAsJsonObject());
      case "server", "fault", "user", "keys" -> {
        var before = command("advance", 0).get("nowMs").getAsLong();
        command(name, value);
        // Some of these steps advance the server's clock.
        clock.advance(
            Duration.ofMillis(command("advance", 0).get("nowMs").getAsLong() - before));
      }
      default -> {
        return false;
      }
    }
    return true;
  }

  private static MovedClock clockOf(JsonObject start) {
    return new MovedClock(Instant.ofEpochMilli(start.get("nowMs").getAsLong()));
  }

  private static final class ClientRun implements Run {
    private final JsonObject start;
    private final MovedClock clock;
    private final TokenSource source;
    private final List<Future<?>> begun = new ArrayList<>();
    private volatile String password;
    private volatile String last = "";

    ClientRun(JsonObject start, JsonObject options) {
      this.start = start;
      clock = clockOf(start);
      password = text("password");
      var url = text(options.has("http2") ? "http2Url" : "baseUrl");
      var builder =
          TokenSource.builder(url, () -> new Credentials(text("username"), password))
              .clock(clock)
              .random(() -> 0.5);
      if (options.has("http2")) builder.http(http2Client(text("certificate")));
      if (options.has("renewAt")) builder.renewAt(options.get("renewAt").getAsDouble());
      if (options.has("timeoutMs")) {
        builder.timeout(Duration.ofMillis(options.get("timeoutMs").getAsLong()));
      }
      source = builder.build();
    }

    private static HttpClient http2Client(String certificate) {
      try {
        var trusted = KeyStore.getInstance(KeyStore.getDefaultType());
        trusted.load(null);
        trusted.setCertificateEntry(
            "proxy",
            CertificateFactory.getInstance("X.509")
                .generateCertificate(new ByteArrayInputStream(certificate.getBytes())));
        var managers = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        managers.init(trusted);
        var context = SSLContext.getInstance("TLS");
        context.init(null, managers.getTrustManagers(), null);
        return HttpClient.newBuilder().sslContext(context).build();
      } catch (GeneralSecurityException | IOException error) {
        throw new IllegalStateException(error);
      }
    }

    private String text(String name) {
      return start.get(name).getAsString();
    }

    @Override
    public void close() {
      source.close();
    }

    @Override
    public void step(String name, JsonElement value) throws Exception {
      if (moveServer(clock, name, value)) return;
      switch (name) {
        case "token" -> ask(value);
        case "tokens" -> askTogether(value.getAsInt());
        case "begin" -> begun.add(POOL.submit(checked(() -> ask(value))));
        case "finish" -> {
          for (var each : begun) finish(each);
        }
        case "cancel" -> {
          try {
            source.token(Duration.ofMillis(1));
            throw new AssertionError("nobody gave up");
          } catch (TimeoutException expected) {
            // Expected.
          }
        }
        case "replace" -> {
          var other = source.replace(last);
          require(other.isPresent() == value.getAsString().equals("other"), other.isPresent());
          require(other.isEmpty() || !other.get().equals(last), "the same token");
          last = other.orElse(last);
        }
        case "retry" -> source.retry();
        case "credentials" ->
            password =
                switch (value.getAsString()) {
                  case "right" -> text("password");
                  case "new" -> text("newPassword");
                  default -> "a wrong one";
                };
        case "close" -> source.close();
        case "deadline" -> {
          var ms = command("deadline", null).get("ms").getAsLong();
          require(ms > 0 && ms <= value.getAsLong(), ms);
        }
        default -> throw new AssertionError("no such step");
      }
    }

    /** What was begun may fail yet, and then waits for the clock. */
    private void finish(Future<?> begun) throws Exception {
      for (var deadline = System.nanoTime() + WAIT.toNanos(); System.nanoTime() < deadline; ) {
        try {
          begun.get(500, TimeUnit.MILLISECONDS);
          return;
        } catch (TimeoutException notYet) {
          moveServer(clock, "advance", new JsonPrimitive(1));
        }
      }
      throw new AssertionError("it did not end");
    }

    private interface Work {
      void run() throws Exception;
    }

    private static Callable<Void> checked(Work work) {
      return () -> {
        work.run();
        return null;
      };
    }

    private void ask(JsonElement wanted) throws Exception {
      if (wanted.isJsonObject()) {
        try {
          source.token();
        } catch (TokenSourceException error) {
          var code = error.code().name().toLowerCase(Locale.ROOT);
          require(code.equals(wanted.getAsJsonObject().get("error").getAsString()), code);
          return;
        }
        throw new AssertionError("a token came");
      }
      var how = wanted.getAsString();
      var token = source.token();
      var deadline = System.nanoTime() + WAIT.toNanos();
      while (how.equals("other") && token.equals(last) && System.nanoTime() < deadline) {
        command("settle", null);
        token = source.token();
      }
      require(!how.equals("same") || token.equals(last), "another token");
      require(!how.equals("other") || !token.equals(last), "the same token");
      last = token;
    }

    private void askTogether(int count) throws Exception {
      var asked = new ArrayList<Future<String>>();
      for (int index = 0; index < count; index++) asked.add(POOL.submit(() -> source.token()));
      var found = new HashSet<String>();
      for (var each : asked) found.add(each.get());
      require(found.size() == 1, found.size());
      last = found.iterator().next();
    }
  }

  private static class VerifierRun implements Run {
    private final MovedClock clock;
    protected final Verifier verifier;
    protected String token = "";

    VerifierRun(JsonObject start, JsonObject options) {
      clock = clockOf(start);
      var builder =
          Verifier.builder(start.get("issuer").getAsString(), start.get("jwksUrl").getAsString())
              .now(clock::now);
      if (options.has("audience")) builder.audience(options.get("audience").getAsString());
      if (options.has("leewaySeconds")) builder.leeway(seconds(options.get("leewaySeconds")));
      if (options.has("timeoutMs")) {
        builder.timeout(Duration.ofMillis(options.get("timeoutMs").getAsLong()));
      }
      if (options.has("revocations")) {
        builder.revocationsUrl(start.get("revocationsUrl").getAsString());
      }
      if (options.has("withoutRevocations")) builder.acceptWithoutRevocations();
      verifier = builder.build();
    }

    @Override
    public void close() {}

    @Override
    public void step(String name, JsonElement value) throws Exception {
      if (moveServer(clock, name, value)) return;
      switch (name) {
        case "issue", "mint" ->
            token = command(name, name.equals("mint") ? value : null).get("token").getAsString();
        case "raw" -> token = value.getAsString();
        case "tokenAsList" ->
            command(
                "fault",
                Map.of("on", "revocations", "status", 200, "headers", Map.of(), "body", token));
        case "verify" -> verify(value.getAsString());
        case "flood" -> flood(value.getAsInt());
        case "demand" -> demand(value.getAsJsonObject());
        default -> throw new AssertionError("no such step");
      }
    }

    protected void verify(String wanted) throws Exception {
      var verdict = verdict(token);
      require(verdict.equals(wanted), verdict);
    }

    private static final Map<String, Status.Code> GRPC_CODES =
        Map.of(
            "200", Status.Code.OK,
            "401", Status.Code.UNAUTHENTICATED,
            "403", Status.Code.PERMISSION_DENIED,
            "503", Status.Code.UNAVAILABLE);

    private void demand(JsonObject demanded) throws Exception {
      var scheme = demanded.has("scheme") ? demanded.get("scheme").getAsString() : "Bearer ";
      var sent =
          demanded.has("authorization") ? demanded.get("authorization").getAsString() : scheme + token;
      var roles =
          demanded.has("roles") ? GSON.fromJson(demanded.get("roles"), String[].class) : new String[0];
      var answers = demanded.get("answers").getAsString();
      var answer = askHttp(sent, new Demand(verifier, roles));
      require(answer.equals(answers), answer);
      var code = askGrpc(sent, new GrpcDemand(verifier, roles));
      require(code == GRPC_CODES.get(answers.split(" ")[0]), code);
    }

    private static String askHttp(String authorization, Demand demand) throws Exception {
      var server = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 0);
      server
          .createContext(
              "/",
              exchange -> {
                exchange.sendResponseHeaders(Demand.claimsOf(exchange) == null ? 500 : 200, -1);
                exchange.close();
              })
          .getFilters()
          .add(demand);
      server.start();
      try {
        var url = URI.create("http://127.0.0.1:" + server.getAddress().getPort() + "/");
        var request = HttpRequest.newBuilder(url);
        if (!authorization.isEmpty()) request.header("authorization", authorization);
        var response = HTTP.send(request.build(), HttpResponse.BodyHandlers.discarding());
        var headers = response.headers();
        var detail =
            headers.firstValue("www-authenticate").or(() -> headers.firstValue("retry-after"));
        return (response.statusCode() + " " + detail.orElse("")).strip();
      } finally {
        server.stop(0);
      }
    }

    private static Status.Code askGrpc(String authorization, GrpcDemand demand) throws Exception {
      var method =
          MethodDescriptor.newBuilder(BYTES, BYTES)
              .setType(MethodDescriptor.MethodType.UNARY)
              .setFullMethodName("test.Orders/Get")
              .build();
      var handler =
          ServerCalls.<byte[], byte[]>asyncUnaryCall(
              (request, observer) -> {
                observer.onNext(GrpcDemand.CLAIMS.get().subject().getBytes());
                observer.onCompleted();
              });
      var server =
          NettyServerBuilder.forAddress(new InetSocketAddress("127.0.0.1", 0))
              .addService(ServerServiceDefinition.builder("test.Orders").addMethod(method, handler).build())
              .intercept(demand)
              .build()
              .start();
      var channel =
          ManagedChannelBuilder.forAddress("127.0.0.1", server.getPort()).usePlaintext().build();
      try {
        var headers = new Metadata();
        if (!authorization.isEmpty()) headers.put(GrpcCredentials.AUTHORIZATION, authorization);
        var intercepted =
            ClientInterceptors.intercept(channel, MetadataUtils.newAttachHeadersInterceptor(headers));
        ClientCalls.blockingUnaryCall(intercepted, method, CallOptions.DEFAULT, new byte[0]);
        return Status.Code.OK;
      } catch (StatusRuntimeException error) {
        return error.getStatus().getCode();
      } finally {
        channel.shutdownNow();
        server.shutdownNow();
      }
    }

    private void flood(int count) throws Exception {
      var rest = token.substring(token.indexOf('.'));
      var verdicts = new ArrayList<Future<String>>();
      for (int index = 0; index < count; index++) {
        var header = "{\"alg\":\"RS256\",\"kid\":\"nobody " + index + "\"}";
        var bytes = header.getBytes(StandardCharsets.UTF_8);
        var encoded = Base64.getUrlEncoder().withoutPadding().encodeToString(bytes);
        verdicts.add(POOL.submit(() -> verdict(encoded + rest)));
      }
      for (var each : verdicts) require(Objects.equals(each.get(), "unknown_key"), each.get());
    }

    private String verdict(String text) {
      try {
        verifier.verify(text);
        return "ok";
      } catch (TokenRefused refusal) {
        return refusal.code().name().toLowerCase(Locale.ROOT);
      }
    }
  }

  /** Verifies with Nimbus, which has the verifier's keys. */
  private static final class NimbusRun extends VerifierRun {
    private final DefaultJWTProcessor<SecurityContext> processor = new DefaultJWTProcessor<>();

    NimbusRun(JsonObject start, JsonObject options) {
      super(start, options);
      processor.setJWSKeySelector(
          new JWSVerificationKeySelector<>(JWSAlgorithm.RS256, verifier.jwkSource()));
      processor.setJWTClaimsSetVerifier(null);
    }

    @Override
    protected void verify(String wanted) throws Exception {
      var found = "ok";
      try {
        processor.process(token, null);
      } catch (BadJWSException error) {
        found = "signature";
      } catch (BadJOSEException error) {
        found = "unknown_key";
      } catch (RemoteKeySourceException error) {
        found = "keys_unavailable";
      }
      require(found.equals(wanted), found);
    }
  }
}
