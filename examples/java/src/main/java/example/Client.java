package example;

import auth.v1.Auth.IssueTokenRequest;
import auth.v1.Auth.LoginRequest;
import auth.v1.AuthServiceGrpc;
import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.jwk.source.JWKSourceBuilder;
import com.nimbusds.jose.proc.JWSVerificationKeySelector;
import com.nimbusds.jose.proc.SecurityContext;
import com.nimbusds.jwt.JWTClaimsSet;
import com.nimbusds.jwt.proc.DefaultJWTClaimsVerifier;
import com.nimbusds.jwt.proc.DefaultJWTProcessor;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.stub.MetadataUtils;
import java.net.URI;
import java.util.Set;
import java.util.concurrent.TimeUnit;

/** Logs in to Latchkey, renews the token, and verifies it with the published key set. */
public final class Client {
  private static final String ISSUER = "NomicGameManager.Api";
  private static final int TIMEOUT_SECONDS = 10;
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  public static void main(String[] args) throws Exception {
    var url = getenv("LATCHKEY_URL", "http://127.0.0.1:8080");
    var keySetUrl = getenv("LATCHKEY_JWKS_URL", url + "/.well-known/jwks.json");
    var claims = verify(logInAndRenew(URI.create(url)), URI.create(keySetUrl));
    System.out.printf(
        "subject %s, until %s%n",
        claims.getSubject(), claims.getExpirationTime().toInstant());
  }

  private static String logInAndRenew(URI url) {
    var channel = ManagedChannelBuilder.forAddress(url.getHost(), url.getPort()).usePlaintext().build();
    try {
      var service =
          AuthServiceGrpc.newBlockingStub(channel)
              .withDeadlineAfter(TIMEOUT_SECONDS, TimeUnit.SECONDS);
      var login =
          service.login(
              LoginRequest.newBuilder()
                  .setUsername(getenv("LATCHKEY_USERNAME", "TestUser"))
                  .setPassword(getenv("LATCHKEY_PASSWORD", "password"))
                  .build());

      var metadata = new Metadata();
      metadata.put(AUTHORIZATION, "Bearer " + login.getAccessToken());
      return service
          .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(metadata))
          .issueToken(IssueTokenRequest.getDefaultInstance())
          .getAccessToken();
    } finally {
      channel.shutdownNow();
    }
  }

  private static JWTClaimsSet verify(String token, URI keySetUrl) throws Exception {
    // Create it once per process: it caches the keys for five minutes, and longer while Latchkey does not answer.
    var keys = JWKSourceBuilder.create(keySetUrl.toURL()).outageTolerant(3_600_000).build();
    var processor = new DefaultJWTProcessor<SecurityContext>();
    processor.setJWSKeySelector(new JWSVerificationKeySelector<>(JWSAlgorithm.RS256, keys));
    var claims =
        new DefaultJWTClaimsVerifier<SecurityContext>(
            new JWTClaimsSet.Builder().issuer(ISSUER).build(), Set.of("sub", "exp"));
    claims.setMaxClockSkew(10);
    processor.setJWTClaimsSetVerifier(claims);
    return processor.process(token, null);
  }

  private static String getenv(String name, String fallback) {
    return System.getenv().getOrDefault(name, fallback);
  }
}
