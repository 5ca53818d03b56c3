package latchkey;

import java.time.Duration;
import java.time.Instant;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;

/** The client's clock, which tests can replace. */
public interface Clock {
  Instant now();

  /** Calls {@code work} in another thread after {@code delay}. The returned function cancels it. */
  Runnable timer(Duration delay, Runnable work);

  /** Waits for {@code delay}, or until {@code closing} is complete. */
  void sleep(Duration delay, CompletableFuture<Void> closing) throws InterruptedException;

  /** The system's clock. Its threads do not keep the process alive. */
  static Clock system() {
    return SystemClock.INSTANCE;
  }

  /** The system's clock. */
  final class SystemClock implements Clock {
    private static final SystemClock INSTANCE = new SystemClock();

    private final ScheduledExecutorService executor =
        Executors.newSingleThreadScheduledExecutor(
            work -> {
              var thread = new Thread(work, "latchkey-timer");
              thread.setDaemon(true);
              return thread;
            });

    private SystemClock() {}

    @Override
    public Instant now() {
      return Instant.now();
    }

    @Override
    public Runnable timer(Duration delay, Runnable work) {
      var future = executor.schedule(work, delay.toMillis(), TimeUnit.MILLISECONDS);
      return () -> future.cancel(false);
    }

    @Override
    public void sleep(Duration delay, CompletableFuture<Void> closing) throws InterruptedException {
      try {
        closing.get(delay.toMillis(), TimeUnit.MILLISECONDS);
      } catch (java.util.concurrent.TimeoutException | java.util.concurrent.ExecutionException over) {
        // The delay is over.
      }
    }
  }
}
