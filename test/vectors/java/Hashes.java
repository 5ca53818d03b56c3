import java.io.PrintStream;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Semaphore;
import java.util.function.Function;
import org.keycloak.common.crypto.CryptoIntegration;
import org.keycloak.credential.hash.PasswordHashProvider;
import org.keycloak.credential.hash.Pbkdf2PasswordHashProvider;
import org.keycloak.crypto.hash.Argon2PasswordHashProvider;
import org.springframework.security.crypto.argon2.Argon2PasswordEncoder;
import org.springframework.security.crypto.bcrypt.BCryptPasswordEncoder;
import org.springframework.security.crypto.password.DelegatingPasswordEncoder;
import org.springframework.security.crypto.password.LdapShaPasswordEncoder;
import org.springframework.security.crypto.password.MessageDigestPasswordEncoder;
import org.springframework.security.crypto.password.PasswordEncoder;
import org.springframework.security.crypto.password.Pbkdf2PasswordEncoder;
import org.springframework.security.crypto.password.StandardPasswordEncoder;
import org.springframework.security.crypto.scrypt.SCryptPasswordEncoder;

/** Vectors by Spring Security and Keycloak. See ../README.md. */
class Hashes {
  static final String LONG = "Aé".repeat(24);
  static final List<String> PASSWORDS =
      List.of("password", "pässwörd ☃ 密码", LONG.substring(0, 46) + "zz", LONG, LONG + "x");
  static final List<String> vectors = new ArrayList<>();

  static String quoted(String text) {
    return '"' + text.replace("\\", "\\\\").replace("\"", "\\\"") + '"';
  }

  static void add(String by, String family, Function<String, String> fields) {
    for (String password : PASSWORDS) {
      vectors.add(
          " {\"by\": %s, \"family\": %s, \"password\": %s, %s}"
              .formatted(quoted(by), quoted(family), quoted(password), fields.apply(password)));
    }
  }

  static void spring(String id, String family, PasswordEncoder encoder) {
    PasswordEncoder delegating = new DelegatingPasswordEncoder(id, Map.of(id, encoder));
    add("Spring Security 6.5.6", family, pw -> "\"hash\": " + quoted(delegating.encode(pw)));
  }

  static void keycloak(String family, PasswordHashProvider provider, int iterations) {
    add(
        "Keycloak 26.3.5",
        family,
        pw -> {
          var made = provider.encodedCredential(pw, iterations);
          return "\"encoding\": \"keycloakHash\", \"pieces\": [%s, %s]"
              .formatted(quoted(made.getCredentialData()), quoted(made.getSecretData()));
        });
  }

  public static void main(String[] args) {
    // BCryptPasswordEncoder itself refuses to hash more than 72 bytes.
    add(
        "Spring Security 6.5.6",
        "bcrypt",
        pw ->
            "\"hash\": "
                + quoted(
                    "{bcrypt}"
                        + new BCryptPasswordEncoder(4)
                            .encode(pw.equals(LONG + "x") ? LONG : pw)));
    spring("argon2", "argon2id", new Argon2PasswordEncoder(16, 32, 1, 256, 2));
    spring(
        "argon2@SpringSecurity_v5_8",
        "argon2id",
        Argon2PasswordEncoder.defaultsForSpringSecurity_v5_8());
    spring("scrypt", "scrypt (Spring)", new SCryptPasswordEncoder(256, 8, 2, 32, 64));
    spring(
        "scrypt@SpringSecurity_v5_8",
        "scrypt (Spring)",
        SCryptPasswordEncoder.defaultsForSpringSecurity_v5_8());
    spring("pbkdf2", "pbkdf2 (Spring)", Pbkdf2PasswordEncoder.defaultsForSpringSecurity_v5_5());
    spring(
        "pbkdf2@SpringSecurity_v5_8",
        "pbkdf2 (Spring)",
        Pbkdf2PasswordEncoder.defaultsForSpringSecurity_v5_8());
    spring("sha256", "sha256 (Spring)", new StandardPasswordEncoder());
    spring("ldap", "sha (LDAP)", new LdapShaPasswordEncoder());
    for (String id : List.of("MD5", "SHA-1", "SHA-256")) {
      spring(id, "digest (Spring)", new MessageDigestPasswordEncoder(id));
    }
    CryptoIntegration.init(Hashes.class.getClassLoader());
    keycloak("pbkdf2", new Pbkdf2PasswordHashProvider("pbkdf2", "PBKDF2WithHmacSHA1", 50, 0, 160), 50);
    keycloak(
        "pbkdf2",
        new Pbkdf2PasswordHashProvider("pbkdf2-sha256", "PBKDF2WithHmacSHA256", 50, 0, 256),
        50);
    keycloak(
        "pbkdf2",
        new Pbkdf2PasswordHashProvider("pbkdf2-sha512", "PBKDF2WithHmacSHA512", 50, 0, 512),
        50);
    keycloak(
        "argon2id",
        new Argon2PasswordHashProvider("1.3", "id", 32, 256, 1, 1, new Semaphore(1)),
        2);
    new PrintStream(System.out, true, java.nio.charset.StandardCharsets.UTF_8)
        .println("[\n" + String.join(",\n", vectors) + "\n]");
  }
}
