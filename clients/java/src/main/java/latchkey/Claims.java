package latchkey;

import java.time.Instant;
import java.util.List;
import java.util.Map;

/**
 * The claims of a token that was verified.
 *
 * @param id {@code jti}, or null
 * @param authTime when the user gave the password, or null
 * @param roles empty where the user has none
 * @param all every claim as it stands in the token
 */
public record Claims(
    String subject,
    String issuer,
    Instant expires,
    Instant issued,
    String id,
    Instant authTime,
    List<String> roles,
    Map<String, Object> all) {}
