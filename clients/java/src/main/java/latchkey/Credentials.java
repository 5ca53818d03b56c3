package latchkey;

/** The username and password of a service. */
public record Credentials(String username, String password) {
  @Override
  public String toString() {
    return "Credentials[" + username + "]";
  }
}
