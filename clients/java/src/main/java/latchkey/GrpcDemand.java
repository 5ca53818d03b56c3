package latchkey;

import io.grpc.Context;
import io.grpc.Contexts;
import io.grpc.Metadata;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.Status;
import java.util.Set;

/**
 * Requires a token in calls to a gRPC server: {@code UNAUTHENTICATED} without a valid one, {@code PERMISSION_DENIED} if
 * it lacks a role, {@code UNAVAILABLE} if it cannot be checked. The messages of a refused call are not read. Needs
 * io.grpc:grpc-api.
 */
public final class GrpcDemand implements ServerInterceptor {
  /** The claims of a call that this interceptor has passed on. */
  public static final Context.Key<Claims> CLAIMS = Context.key("latchkey.claims");

  private final Verifier verifier;
  private final Set<String> roles;

  /**
   * @param roles roles of which the user must have one; without any, every user may pass
   */
  public GrpcDemand(Verifier verifier, String... roles) {
    this.verifier = verifier;
    this.roles = Set.of(roles);
  }

  @Override
  public <A, B> ServerCall.Listener<A> interceptCall(
      ServerCall<A, B> call, Metadata headers, ServerCallHandler<A, B> next) {
    var token = Demand.bearerTokenOf(headers.get(GrpcCredentials.AUTHORIZATION));
    if (token == null) return refuse(call, Status.UNAUTHENTICATED, "a token is required");
    Claims claims;
    try {
      claims = verifier.verify(token);
    } catch (TokenRefused refusal) {
      return refusal.isOutage()
          ? refuse(call, Status.UNAVAILABLE, "the token cannot be checked")
          : refuse(call, Status.UNAUTHENTICATED, "the token is refused");
    }
    if (!Demand.hasRole(claims, roles)) {
      return refuse(call, Status.PERMISSION_DENIED, "the user lacks the role");
    }
    return Contexts.interceptCall(
        Context.current().withValue(CLAIMS, claims), call, headers, next);
  }

  private static <A> ServerCall.Listener<A> refuse(
      ServerCall<A, ?> call, Status status, String description) {
    call.close(status.withDescription(description), new Metadata());
    return new ServerCall.Listener<>() {};
  }
}
