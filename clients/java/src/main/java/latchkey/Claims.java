package latchkey;

import java.time.Instant;
import java.util.List;
import java.util.Map;

/**
 * The claims of a verified token.
 *
 * @param id {@code jti}, or null
 * @param authTime when the user gave the password, or null
 * @param roles empty if the user has none
 * @param all all claims as they stand in the token
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
