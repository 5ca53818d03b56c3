import com.auth0.jwk.JwkProvider;
import com.auth0.jwk.JwkProviderBuilder;
import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.crypto.RSASSAVerifier;
import com.nimbusds.jose.jwk.source.JWKSource;
import com.nimbusds.jose.jwk.source.JWKSourceBuilder;
import com.nimbusds.jose.jwk.source.RemoteJWKSet;
import com.nimbusds.jose.proc.JWSVerificationKeySelector;
import com.nimbusds.jose.proc.SecurityContext;
import com.nimbusds.jwt.JWTClaimsSet;
import com.nimbusds.jwt.SignedJWT;
import com.nimbusds.jwt.proc.DefaultJWTClaimsVerifier;
import com.nimbusds.jwt.proc.DefaultJWTProcessor;
import com.nimbusds.oauth2.sdk.as.AuthorizationServerMetadata;
import com.nimbusds.oauth2.sdk.id.Issuer;
import com.nimbusds.openid.connect.sdk.op.OIDCProviderMetadata;
import io.vertx.core.Vertx;
import io.vertx.ext.auth.authentication.TokenCredentials;
import io.vertx.ext.auth.oauth2.OAuth2Auth;
import io.vertx.ext.auth.oauth2.OAuth2Options;
import io.vertx.ext.auth.oauth2.providers.OpenIDConnectAuth;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.URL;
import java.security.interfaces.RSAPublicKey;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import org.jose4j.jwa.AlgorithmConstraints;
import org.jose4j.jwk.HttpsJwks;
import org.jose4j.jwt.consumer.JwtConsumerBuilder;
import org.jose4j.keys.resolvers.HttpsJwksVerificationKeyResolver;
import org.springframework.security.oauth2.jwt.JwtDecoder;
import org.springframework.security.oauth2.jwt.JwtDecoders;
import org.springframework.security.oauth2.jwt.JwtValidators;
import org.springframework.security.oauth2.jwt.NimbusJwtDecoder;

/** Verifiers for Java, set up by their documentation. verifier.js describes the protocol. */
public final class Verifier {
  private static final String ISSUER = System.getenv("ISSUER");
  private static final String JWKS_URL = System.getenv("JWKS_URL");
  private static final String AUDIENCE = "api";

  private interface Verify {
    void verify(String token) throws Exception;
  }

  public static void main(String[] arguments) throws Exception {
    Verify verify = null;
    var lines = new BufferedReader(new InputStreamReader(System.in));
    for (var line = lines.readLine(); line != null; line = lines.readLine()) {
      if (line.startsWith("+")) {
        System.out.println("ok");
        continue;
      }
      try {
        if (verify == null) verify = library(arguments[0]);
        verify.verify(line);
        System.out.println("ok");
      } catch (Throwable error) {
        System.out.println("no " + String.valueOf(error).replace('\n', ' '));
      }
    }
    System.exit(0);
  }

  private static Verify library(String name) throws Exception {
    return switch (name) {
      case "Nimbus" -> nimbus(JWKSourceBuilder.create(new URL(JWKS_URL)).build());
      case "Nimbus set" ->
          nimbus(
              JWKSourceBuilder.create(new URL(JWKS_URL))
                  .cache(300_000, 15_000)
                  .outageTolerant(3_600_000)
                  .build());
      case "Nimbus, RemoteJWKSet" -> nimbus(new RemoteJWKSet<>(new URL(JWKS_URL)));
      case "Nimbus OIDC SDK, metadata" -> {
        var metadata = OIDCProviderMetadata.resolve(new Issuer(ISSUER));
        yield nimbus(JWKSourceBuilder.create(metadata.getJWKSetURI().toURL()).build());
      }
      case "Nimbus OAuth SDK, metadata" -> {
        var metadata = AuthorizationServerMetadata.resolve(new Issuer(ISSUER));
        yield nimbus(JWKSourceBuilder.create(metadata.getJWKSetURI().toURL()).build());
      }
      case "Spring Security" -> spring(NimbusJwtDecoder.withJwkSetUri(JWKS_URL).build());
      case "Spring Security, discovery" -> JwtDecoders.fromIssuerLocation(ISSUER)::decode;
      case "Spring Security OIDC, metadata" -> JwtDecoders.fromOidcIssuerLocation(ISSUER)::decode;
      case "Vert.x, metadata" -> vertx();
      case "jose4j" -> jose4j(new HttpsJwks(JWKS_URL));
      case "jose4j set" -> {
        var keys = new HttpsJwks(JWKS_URL);
        keys.setRetainCacheOnErrorDuration(3600);
        yield jose4j(keys);
      }
      case "auth0 jwks-rsa" ->
          auth0(new JwkProviderBuilder(new URL(JWKS_URL)).build());
      case "auth0 jwks-rsa set" ->
          auth0(
              new JwkProviderBuilder(new URL(JWKS_URL)).cached(10, 5, TimeUnit.MINUTES).build());
      default -> throw new IllegalArgumentException("no such library");
    };
  }

  private static Verify nimbus(JWKSource<SecurityContext> keys) {
    var processor = new DefaultJWTProcessor<SecurityContext>();
    processor.setJWSKeySelector(new JWSVerificationKeySelector<>(JWSAlgorithm.RS256, keys));
    var expected = new JWTClaimsSet.Builder().issuer(ISSUER).build();
    processor.setJWTClaimsSetVerifier(
        new DefaultJWTClaimsVerifier<>(AUDIENCE, expected, Set.of("sub", "exp")));
    return token -> processor.process(token, null);
  }

  private static Verify spring(NimbusJwtDecoder decoder) {
    decoder.setJwtValidator(JwtValidators.createDefaultWithIssuer(ISSUER));
    return decoder::decode;
  }

  private static Verify vertx() throws Exception {
    var options = new OAuth2Options().setSite(ISSUER).setClientId(AUDIENCE);
    OAuth2Auth auth = await(OpenIDConnectAuth.discover(Vertx.vertx(), options));
    return token -> await(auth.authenticate(new TokenCredentials(token)));
  }

  private static <T> T await(io.vertx.core.Future<T> future) throws Exception {
    return future.toCompletionStage().toCompletableFuture().get(10, TimeUnit.SECONDS);
  }

  private static Verify jose4j(HttpsJwks keys) {
    var consumer =
        new JwtConsumerBuilder()
            .setVerificationKeyResolver(new HttpsJwksVerificationKeyResolver(keys))
            .setExpectedIssuer(ISSUER)
            .setExpectedAudience(AUDIENCE)
            .setRequireExpirationTime()
            .setJwsAlgorithmConstraints(AlgorithmConstraints.ConstraintType.PERMIT, "RS256")
            .build();
    return consumer::processToClaims;
  }

  /** The library only finds the key; Nimbus verifies the signature. */
  private static Verify auth0(JwkProvider keys) {
    return token -> {
      var jwt = SignedJWT.parse(token);
      var key = (RSAPublicKey) keys.get(jwt.getHeader().getKeyID()).getPublicKey();
      if (!jwt.verify(new RSASSAVerifier(key))) throw new SecurityException("signature");
    };
  }
}
