/** The names of Latchkey's own collections, beside the users'. Depends on nothing. */

/** Collections that the service and every command that changes something need. */
export const neededCollections = {
  keys: "latchkey_keys",
  throttle: "latchkey_throttle",
  audit: "latchkey_audit",
} as const;

/** Collections that are needed only with a setting, by that setting. */
export const optionalCollections = {
  REVOCATIONS: ["latchkey_revocations"],
  UPSTREAM_URL: ["latchkey_learned", "latchkey_takeover"],
} as const;
