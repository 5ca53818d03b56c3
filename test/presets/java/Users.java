/** Users by Spring Data MongoDB and Spring Security. See README.md. */
import com.mongodb.ConnectionString;
import com.mongodb.MongoClientSettings;
import com.mongodb.client.MongoClients;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.UUID;
import org.bson.Document;
import org.bson.UuidRepresentation;
import org.bson.json.JsonMode;
import org.bson.json.JsonWriterSettings;
import org.springframework.data.annotation.Id;
import org.springframework.data.mongodb.core.MongoTemplate;
import org.springframework.security.core.authority.SimpleGrantedAuthority;
import org.springframework.security.core.userdetails.User;
import org.springframework.security.core.userdetails.UserDetails;
import org.springframework.security.crypto.bcrypt.BCryptPasswordEncoder;
import org.springframework.security.crypto.factory.PasswordEncoderFactories;

public class Users {
  /** As JHipster generates it. */
  static class Authority {
    @Id String name;

    Authority(String name) {
      this.name = name;
    }
  }

  /** JHipster's user, with a UUID for its id. */
  static class Member {
    @Id UUID id;
    String login;
    String password;
    boolean activated;
    Set<Authority> authorities;
  }

  public static void main(String[] arguments) {
    // Spring Boot's default was java-legacy before 4.0.
    String uri = arguments[0];
    var settings =
        MongoClientSettings.builder()
            .applyConnectionString(new ConnectionString(uri))
            .uuidRepresentation(UuidRepresentation.JAVA_LEGACY)
            .build();
    var client = MongoClients.create(settings);
    var database = uri.substring(uri.lastIndexOf('/') + 1);
    var template = new MongoTemplate(client, database);
    var encoder = PasswordEncoderFactories.createDelegatingPasswordEncoder();
    for (String name : List.of("alice", "mallory")) {
      UserDetails user =
          User.withUsername(name)
              .password(encoder.encode("correct horse battery"))
              .authorities(new SimpleGrantedAuthority("ROLE_USER"), new SimpleGrantedAuthority("ROLE_ADMIN"))
              .disabled(name.equals("mallory"))
              .build();
      template.insert(user, "users");
    }
    var plain = new BCryptPasswordEncoder();
    for (String login : List.of("alice", "mallory")) {
      var user = new Member();
      user.id = UUID.nameUUIDFromBytes(login.getBytes());
      user.login = login;
      user.password = plain.encode("correct horse battery");
      user.activated = login.equals("alice");
      user.authorities = Set.of(new Authority("ROLE_USER"), new Authority("ROLE_ADMIN"));
      template.insert(user, "jhi_user");
    }
    // A client of its own, whose UUIDs are left as they are stored.
    var stored = MongoClients.create(uri).getDatabase(database);
    var collections = new Document();
    var indexes = new Document();
    for (String name : List.of("users", "jhi_user")) {
      collections.append(name, stored.getCollection(name).find().into(new ArrayList<>()));
      indexes.append(name, List.of());
    }
    var result =
        new Document("by", "spring-data-mongodb 4.5.5, spring-security-core 6.5.6")
            .append("collections", collections)
            .append("indexes", indexes);
    System.out.println(
        result.toJson(JsonWriterSettings.builder().outputMode(JsonMode.RELAXED).indent(true).build()));
  }
}
