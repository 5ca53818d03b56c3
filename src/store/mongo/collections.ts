/** The collections of our own, beside the users'. Depends on nothing. */

/** What every service and every command that changes something needs. */
export const neededCollections = {
  keys: "latchkey_keys",
  throttle: "latchkey_throttle",
  audit: "latchkey_audit",
} as const;

/** What only some settings need, by the setting. */
export const optionalCollections = {
  REVOCATIONS: ["latchkey_revocations"],
  UPSTREAM_URL: ["latchkey_learned", "latchkey_takeover"],
} as const;
