/** Users by Spring Data MongoDB and Spring Security. See README.md. */
import com.mongodb.client.MongoClients;
import java.util.ArrayList;
import java.util.List;
import org.bson.Document;
import org.bson.json.JsonMode;
import org.bson.json.JsonWriterSettings;
import org.springframework.data.annotation.Id;
import org.springframework.data.mongodb.core.MongoTemplate;
import org.springframework.data.mongodb.core.mapping.MongoId;
import org.springframework.security.core.authority.SimpleGrantedAuthority;
import org.springframework.security.core.userdetails.User;
import org.springframework.security.core.userdetails.UserDetails;
import org.springframework.security.crypto.factory.PasswordEncoderFactories;

public class Users {
  public static void main(String[] arguments) {
    String uri = arguments[0];
    var client = MongoClients.create(uri);
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
    var result =
        new Document("by", "spring-data-mongodb 4.5.5, spring-security-core 6.5.6")
            .append("collections", new Document("users", template.getCollection("users").find().into(new ArrayList<>())))
            .append("indexes", new Document("users", List.of()));
    System.out.println(
        result.toJson(JsonWriterSettings.builder().outputMode(JsonMode.RELAXED).indent(true).build()));
  }
}
