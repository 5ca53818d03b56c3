package latchkey;

/** What a service logs in with. */
public record Credentials(String username, String password) {
  @Override
  public String toString() {
    return "Credentials[" + username + "]";
  }
}
