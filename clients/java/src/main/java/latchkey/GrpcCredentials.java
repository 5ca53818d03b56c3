package latchkey;

import io.grpc.CallCredentials;
import io.grpc.Metadata;
import io.grpc.SecurityLevel;
import io.grpc.Status;
import java.util.concurrent.Executor;

/** Call credentials that send the token. Needs io.grpc:grpc-api. */
public final class GrpcCredentials extends CallCredentials {
  static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  private final TokenSource source;

  public GrpcCredentials(TokenSource source) {
    this.source = source;
  }

  /** Sends nothing without TLS, because a token is as good as a password until it expires. */
  @Override
  public void applyRequestMetadata(RequestInfo call, Executor executor, MetadataApplier applier) {
    if (call.getSecurityLevel() != SecurityLevel.PRIVACY_AND_INTEGRITY) {
      applier.fail(Status.UNAUTHENTICATED.withDescription("a token is sent over TLS alone"));
      return;
    }
    executor.execute(
        () -> {
          try {
            var headers = new Metadata();
            headers.put(AUTHORIZATION, "Bearer " + source.token());
            applier.apply(headers);
          } catch (TokenSourceException error) {
            applier.fail(Status.UNAVAILABLE.withDescription(error.getMessage()).withCause(error));
          } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            applier.fail(Status.CANCELLED.withCause(error));
          }
        });
  }
}
