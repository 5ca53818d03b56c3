package latchkey;

import java.io.IOException;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.time.Instant;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.BiConsumer;
import java.util.function.DoubleSupplier;
import java.util.function.Supplier;

/**
 * Logs in once, keeps the token fresh, and goes on with its current token while Latchkey is unavailable. Safe to use
 * from several threads.
 */
public final class TokenSource implements AutoCloseable {
  private static final Duration REPLACE_PAUSE = Duration.ofSeconds(10);
  private static final Duration BACK_OFF_MAX = Duration.ofMinutes(1);

  private record Held(String token, Instant renewAt, Instant expiresAt) {}

  private final Builder options;
  private final Calls calls;
  private final Clock clock;
  private final CompletableFuture<Void> closing = new CompletableFuture<>();
  private Held held;
  private CompletableFuture<Held> flight;
  private Runnable cancelTimer = () -> {};
  private TokenSourceException failure;
  private Instant failedUntil = Instant.MIN;
  private int failures;
  private Instant replacedAt = Instant.MIN;

  private TokenSource(Builder options) {
    this.options = options;
    this.clock = options.clock;
    this.calls = new Calls(options.http, options.baseUrl);
  }

  /**
   * @param baseUrl address of Latchkey, such as {@code https://auth.example.com}
   * @param credentials called before each login
   */
  public static Builder builder(String baseUrl, Supplier<Credentials> credentials) {
    return new Builder(baseUrl, credentials);
  }

  /** The options, each with its default. */
  public static final class Builder {
    private final String baseUrl;
    private final Supplier<Credentials> credentials;
    private double renewAt = 0.8;
    private double jitter = 0.05;
    private Duration timeout = Duration.ofSeconds(10);
    private Duration refusedPause = Duration.ofMinutes(5);
    private BiConsumer<String, TokenSourceException> onEvent = (event, failure) -> {};
    private Clock clock = Clock.system();
    private DoubleSupplier random = () -> ThreadLocalRandom.current().nextDouble();
    // Credentials must go to the configured address only.
    private HttpClient http =
        HttpClient.newBuilder().followRedirects(HttpClient.Redirect.NEVER).build();

    private Builder(String baseUrl, Supplier<Credentials> credentials) {
      java.net.URI.create(baseUrl);
      this.baseUrl = baseUrl;
      this.credentials = credentials;
    }

    /** Part of a token's lifetime after which it is renewed. From .1 to .95, default .8. */
    public Builder renewAt(double part) {
      renewAt = inRange("renewAt", part, 0.1, 0.95);
      return this;
    }

    /** Renewals come earlier by a random part of the lifetime, up to this one. From 0 to .1, default .05. */
    public Builder jitter(double part) {
      jitter = inRange("jitter", part, 0, 0.1);
      return this;
    }

    /** The deadline of one token() that has to call Latchkey, retries included. From 100 ms, default 10 s. */
    public Builder timeout(Duration time) {
      inRange("timeout", time.toMillis(), 100, 600_000);
      timeout = time;
      return this;
    }

    /** The time during which refused credentials are not sent again. From 1 min, default 5 min. */
    public Builder refusedPause(Duration time) {
      inRange("refusedPause", time.toMillis(), 60_000, 86_400_000);
      refusedPause = time;
      return this;
    }

    /** Called with {@code logged_in}, {@code renewed} and {@code failed}, the last with its error. */
    public Builder onEvent(BiConsumer<String, TokenSourceException> listener) {
      onEvent = listener;
      return this;
    }

    public Builder clock(Clock other) {
      clock = other;
      return this;
    }

    public Builder http(HttpClient client) {
      http = client;
      return this;
    }

    Builder random(DoubleSupplier other) {
      random = other;
      return this;
    }

    public TokenSource build() {
      return new TokenSource(this);
    }

    private static double inRange(String name, double value, double min, double max) {
      if (value >= min && value <= max) return value;
      throw new IllegalArgumentException(name + " must be from " + min + " to " + max);
    }
  }

  /** Returns the token, which all callers share until it is renewed. */
  public String token() throws TokenSourceException, InterruptedException {
    try {
      return token(Duration.ofDays(1));
    } catch (TimeoutException never) {
      throw unavailable();
    }
  }

  /**
   * Returns the token, which all callers share until it is renewed.
   *
   * @throws TimeoutException after {@code wait}, for this caller only
   */
  public String token(Duration wait)
      throws TokenSourceException, TimeoutException, InterruptedException {
    CompletableFuture<Held> asked;
    synchronized (this) {
      if (closing.isDone()) throw closed();
      var now = clock.now();
      if (held != null && now.isBefore(held.expiresAt)) {
        // The timer may be late, for example after the machine has slept.
        if (!now.isBefore(held.renewAt) && !now.isBefore(failedUntil)) acquire();
        return held.token;
      }
      if (failure != null && now.isBefore(failedUntil)) throw failure;
      asked = acquire();
    }
    return awaited(asked, wait).token;
  }

  /**
   * Returns another token in place of {@code refused}, which a service has refused. Empty if Latchkey is unavailable,
   * or if this was called less than ten seconds ago.
   */
  public Optional<String> replace(String refused) throws InterruptedException {
    CompletableFuture<Held> asked;
    synchronized (this) {
      if (held != null && !held.token.equals(refused)) return Optional.of(held.token);
      var now = clock.now();
      var isPaused = failure != null && now.isBefore(failedUntil);
      if (isPaused || (replacedAt != Instant.MIN && now.isBefore(replacedAt.plus(REPLACE_PAUSE)))) {
        return Optional.empty();
      }
      replacedAt = now;
      asked = acquire();
    }
    try {
      return Optional.of(awaited(asked, options.timeout.multipliedBy(2)).token);
    } catch (TokenSourceException | TimeoutException none) {
      return Optional.empty();
    }
  }

  /** Forgets that credentials were refused, so that the next token() logs in. */
  public synchronized void retry() {
    failure = null;
    failures = 0;
  }

  /**
   * Sends a request with the token, and repeats it once with another token after a 401. java.net.http keeps the body.
   */
  public <T> HttpResponse<T> send(
      HttpClient client, HttpRequest request, HttpResponse.BodyHandler<T> handler)
      throws TokenSourceException, IOException, InterruptedException {
    var token = token();
    var response = client.send(withToken(request, token), handler);
    if (response.statusCode() != 401) return response;
    var other = replace(token);
    return other.isEmpty() ? response : client.send(withToken(request, other.get()), handler);
  }

  private static HttpRequest withToken(HttpRequest request, String token) {
    return HttpRequest.newBuilder(request, (name, value) -> !name.equalsIgnoreCase("authorization"))
        .header("authorization", "Bearer " + token)
        .build();
  }

  /** Ends the renewals. After it, no token is returned. */
  @Override
  public void close() {
    closing.complete(null);
    synchronized (this) {
      cancelTimer.run();
    }
  }

  private static Held awaited(CompletableFuture<Held> asked, Duration wait)
      throws TokenSourceException, TimeoutException, InterruptedException {
    try {
      return asked.get(wait.toMillis(), TimeUnit.MILLISECONDS);
    } catch (ExecutionException error) {
      if (error.getCause() instanceof TokenSourceException known) throw known;
      throw unavailable();
    }
  }

  /** Gets a new token; all callers share one call. The caller holds the lock. */
  private CompletableFuture<Held> acquire() {
    if (flight != null) return flight;
    var started = new CompletableFuture<Held>();
    flight = started;
    var deadline = clock.now().plus(options.timeout);
    var thread =
        new Thread(
            () -> {
              Held result = null;
              Throwable error = null;
              try {
                result = attempt(deadline);
              } catch (TokenSourceException | InterruptedException | RuntimeException thrown) {
                error = thrown;
              }
              synchronized (this) {
                flight = null;
              }
              if (error == null) started.complete(result);
              else started.completeExceptionally(error);
            },
            "latchkey-token");
    thread.setDaemon(true);
    thread.start();
    return started;
  }

  /** Calls Latchkey until there is a token, the time is over, or another call cannot help. */
  private Held attempt(Instant deadline) throws TokenSourceException, InterruptedException {
    for (; ; ) {
      var sentAt = clock.now();
      TokenSourceException error;
      try {
        return ask(Duration.between(sentAt, deadline), sentAt);
      } catch (TokenSourceException thrown) {
        error = thrown;
      } catch (IOException | RuntimeException thrown) {
        error = unavailable();
        error.initCause(thrown);
      }
      if (closing.isDone()) throw closed();
      var wait = fail(error);
      // While the current token is valid nobody waits, so the timer makes the next attempt.
      var mayWait = error.isRetryable() && current() == null;
      if (!mayWait || !clock.now().plus(wait).isBefore(deadline)) throw error;
      clock.sleep(wait, closing);
      if (closing.isDone()) throw closed();
    }
  }

  /** Renews the token if there is a valid one. Otherwise, or if that is refused, logs in by the password. */
  private Held ask(Duration left, Instant sentAt)
      throws TokenSourceException, IOException, InterruptedException {
    var timeout = left.compareTo(Duration.ofMillis(1)) < 0 ? Duration.ofMillis(1) : left;
    var current = current();
    if (current != null) {
      try {
        return hold("renewed", calls.issueToken(current.token, timeout), sentAt);
      } catch (TokenSourceException error) {
        if (error.code() != TokenSourceException.Code.REFUSED) throw error;
      }
    }
    return hold("logged_in", calls.login(options.credentials.get(), timeout), sentAt);
  }

  /** The token if it is still valid, or null. */
  private synchronized Held current() {
    return held != null && clock.now().isBefore(held.expiresAt) ? held : null;
  }

  private Held hold(String event, String token, Instant sentAt) {
    var life = Calls.lifeOf(token);
    var part = options.renewAt - options.jitter * options.random.getAsDouble();
    var renewAt = sentAt.plusMillis((long) (life.toMillis() * part));
    var next = new Held(token, renewAt, sentAt.plus(life));
    synchronized (this) {
      held = next;
      failure = null;
      failures = 0;
      schedule(Duration.between(clock.now(), renewAt));
    }
    tell(event, null);
    return next;
  }

  private Duration fail(TokenSourceException error) {
    Duration wait = options.refusedPause;
    synchronized (this) {
      var backOff = Duration.ofSeconds(1L << Math.min(failures++, 6));
      if (backOff.compareTo(BACK_OFF_MAX) > 0) backOff = BACK_OFF_MAX;
      if (error.isRetryable()) {
        var factor = 1 + 0.2 * options.random.getAsDouble();
        wait = Duration.ofMillis((long) (backOff.toMillis() * factor));
        if (error.retryAfter().compareTo(wait) > 0) wait = error.retryAfter();
      }
      failure = error;
      failedUntil = clock.now().plus(wait);
      if (current() != null) schedule(wait);
    }
    tell("failed", error);
    return wait;
  }

  /** The caller holds the lock. */
  private void schedule(Duration delay) {
    cancelTimer.run();
    if (closing.isDone()) return;
    cancelTimer = clock.timer(delay.isNegative() ? Duration.ZERO : delay, this::renew);
  }

  private synchronized void renew() {
    if (!closing.isDone()) acquire();
  }

  private void tell(String event, TokenSourceException error) {
    try {
      options.onEvent.accept(event, error);
    } catch (RuntimeException fault) {
      // A failing listener must not affect the token.
    }
  }

  private static TokenSourceException closed() {
    return new TokenSourceException(
        TokenSourceException.Code.CLOSED, "the token source is closed", Duration.ZERO);
  }

  private static TokenSourceException unavailable() {
    return new TokenSourceException(
        TokenSourceException.Code.UNAVAILABLE, "Latchkey cannot be asked", Duration.ZERO);
  }
}
