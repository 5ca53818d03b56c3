package latchkey;

import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Supplier;
import java.util.regex.Pattern;

/**
 * A document fetched over HTTP and cached by its {@code Cache-Control} (RFC 9111). While its server fails, the cached
 * one is used for the time of {@code stale-if-error} (RFC 5861).
 */
final class CachedDocument<T> {
  private static final int BODY_BYTES_MAX = 16 * 1024 * 1024;
  private static final double READ_AHEAD_AT = 0.8;
  private static final long BACK_OFF_MAX_SECONDS = 30;
  private static final Pattern UNCACHED =
      Pattern.compile("(?:^|[\\s,])no-(?:store|cache)\\b", Pattern.CASE_INSENSITIVE);

  /** Converts a body to the value. If it throws, the read has failed. */
  interface Parser<T> {
    T parse(String body) throws Exception;
  }

  /**
   * @param maxAge the {@code max-age} of an answer without one
   * @param maxAgeMost the longest {@code max-age} that is used
   * @param stale replaces the answer's {@code stale-if-error}, unless null
   */
  record Options<T>(
      HttpClient http,
      URI url,
      Duration timeout,
      Supplier<Instant> now,
      Parser<T> parser,
      Duration maxAge,
      Duration maxAgeMost,
      Duration stale) {}

  private record Stored<T>(
      T value, String etag, Instant aheadAt, Instant freshUntil, Instant staleUntil) {}

  private final Options<T> options;
  private final ReentrantLock reading = new ReentrantLock();
  private volatile Stored<T> stored;
  private volatile boolean isReadingAhead;
  private Instant failedUntil = Instant.MIN;
  private int failures;
  private Instant refreshedAt = Instant.MIN;

  CachedDocument(Options<T> options) {
    this.options = options;
  }

  /** Returns the value, if it is fresh or may be stale; otherwise throws the error of the last read. */
  T value() throws Exception {
    var now = options.now.get();
    var seen = stored;
    if (seen != null && now.isBefore(seen.freshUntil)) {
      if (!now.isBefore(seen.aheadAt)) readAhead(seen);
      return seen.value;
    }
    try {
      read(seen);
    } catch (Exception error) {
      if (seen != null && options.now.get().isBefore(seen.staleUntil)) return seen.value;
      throw error;
    }
    return stored.value;
  }

  /** Reads the document again, but not twice within {@code pause}. Calls during a read share that read. */
  boolean refresh(Duration pause) {
    var seen = stored;
    var now = options.now.get();
    synchronized (this) {
      if (refreshedAt == Instant.MIN || !now.isBefore(refreshedAt.plus(pause))) {
        refreshedAt = now;
      } else {
        now = null;
      }
    }
    if (now == null) {
      reading.lock();
      try {
        return stored != seen;
      } finally {
        reading.unlock();
      }
    }
    try {
      read(seen);
      return true;
    } catch (Exception none) {
      return false;
    }
  }

  private void readAhead(Stored<T> seen) {
    synchronized (this) {
      if (isReadingAhead) return;
      isReadingAhead = true;
    }
    var thread =
        new Thread(
            () -> {
              try {
                read(seen);
              } catch (Exception late) {
                // The cached value is still valid.
              } finally {
                isReadingAhead = false;
              }
            },
            "latchkey-read");
    thread.setDaemon(true);
    thread.start();
  }

  /** Reads once for all callers that have seen the same value; after a failure, pauses first. */
  private void read(Stored<T> seen) throws Exception {
    reading.lock();
    try {
      if (stored != seen) return;
      if (options.now.get().isBefore(failedUntil)) {
        throw new IOException(options.url + " could not be read a moment ago");
      }
      stored = readOnce(seen);
      failures = 0;
      failedUntil = Instant.MIN;
    } catch (Exception error) {
      if (!options.now.get().isBefore(failedUntil)) {
        var most = Math.min(BACK_OFF_MAX_SECONDS, options.maxAgeMost.toSeconds());
        var pause = Math.min(most, 1L << Math.min(failures++, 10));
        failedUntil = options.now.get().plusSeconds(pause);
      }
      throw error;
    } finally {
      reading.unlock();
    }
  }

  private Stored<T> readOnce(Stored<T> seen) throws Exception {
    var sentAt = options.now.get();
    var request = HttpRequest.newBuilder(options.url).timeout(options.timeout);
    if (seen != null && seen.etag != null) request.header("if-none-match", seen.etag);
    var response = options.http.send(request.build(), HttpResponse.BodyHandlers.ofInputStream());
    T value;
    String etag;
    try (var stream = response.body()) {
      if (response.statusCode() == 304 && seen != null) {
        value = seen.value;
        etag = seen.etag;
      } else if (response.statusCode() == 200) {
        value =
            options.parser.parse(
                new String(stream.readNBytes(BODY_BYTES_MAX), StandardCharsets.UTF_8));
        etag = response.headers().firstValue("etag").orElse(null);
      } else {
        throw new IOException(options.url + " answers " + response.statusCode());
      }
    }
    var directives = String.join(", ", response.headers().allValues("cache-control"));
    var maxAge = maxAgeOf(directives, response.headers().firstValue("age").orElse("0"));
    var given = secondsOf(directives, "stale-if-error");
    var stale = options.stale != null ? options.stale : given != null ? given : Duration.ZERO;
    var freshUntil = sentAt.plus(maxAge);
    var aheadAt = sentAt.plusMillis((long) (maxAge.toMillis() * READ_AHEAD_AT));
    return new Stored<>(value, etag, aheadAt, freshUntil, freshUntil.plus(stale));
  }

  private Duration maxAgeOf(String directives, String age) {
    if (UNCACHED.matcher(directives).find()) return Duration.ZERO;
    var given = secondsOf(directives, "max-age");
    var maxAge = given == null ? options.maxAge : given;
    if (maxAge.compareTo(options.maxAgeMost) > 0) maxAge = options.maxAgeMost;
    if (age.matches("\\d{1,9}")) maxAge = maxAge.minusSeconds(Long.parseLong(age));
    return maxAge.isNegative() ? Duration.ZERO : maxAge;
  }

  private static Duration secondsOf(String directives, String name) {
    var pattern = "(?:^|[\\s,])" + name + "\\s*=\\s*\"?(\\d{1,9})";
    var found = Pattern.compile(pattern, Pattern.CASE_INSENSITIVE).matcher(directives);
    return found.find() ? Duration.ofSeconds(Long.parseLong(found.group(1))) : null;
  }
}
