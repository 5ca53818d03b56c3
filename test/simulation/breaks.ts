/** Breaks of the source that the simulation must notice, each with the law that finds it. */
export interface Break {
  readonly name: string;
  readonly file: string;
  /** Found once in the file. */
  readonly from: string;
  readonly to: string;
  readonly law: RegExp;
}

export const breaks: readonly Break[] = [
  {
    name: "a key signs before every verifier knows it",
    file: "src/auth/keys/ring.ts",
    from: "Math.max(now + waitMs(ring, policy), ...earlier)",
    to: "Math.max(now, ...earlier)",
    law: /refuses a good token/,
  },
  {
    name: "a key leaves the set before its last token has expired",
    file: "src/auth/keys/ring.ts",
    from: "const removeAt = now + freshnessMs + keepSeconds * 1000;",
    to: "const removeAt = now + freshnessMs + keepSeconds;",
    law: /refuses a good token|does not renew a good token/,
  },
  {
    name: "a replica signs with the keys that it last saw",
    file: "src/auth/keys/ring-replica.ts",
    from: "freshen(ageMsMax = freshnessMs): true",
    to: "freshen(ageMsMax = 60 * freshnessMs): true",
    law: /which is not the signing key/,
  },
  {
    name: "places do not count towards the limit",
    file: "src/auth/throttle/record.ts",
    from: "counter.failures + taken >= max",
    to: "counter.failures >= max",
    law: /guesses .* were evaluated/,
  },
  {
    name: "trust lifts a refusal without bound",
    file: "src/auth/throttle/throttle.ts",
    from: "max: Math.ceil(failures / 2) }",
    to: "max: Infinity }",
    law: /guesses .* were evaluated/,
  },
  {
    name: "a wrong password is told although it could not be counted",
    file: "src/auth/throttle/throttle.ts",
    from: "this.#retries.add(count, end);\n      throw error;",
    to: "return undefined;",
    law: /were told/,
  },
  {
    name: "a record of the throttle is replaced whatever its version",
    file: "src/store/mongo/throttle.ts",
    from: ": this.#replace({ _id: key, version }, next),",
    to: ": this.#replace({ _id: key } as never, next),",
    law: /were told|guesses .* were evaluated|refused/,
  },
  {
    name: "writes need no majority",
    file: "src/store/mongo/connection.ts",
    from: 'writeConcern: { w: "majority", wtimeoutMS: deadlineMs },',
    to: "writeConcern: { w: 1, wtimeoutMS: deadlineMs },",
    law: /lost|were told|as wrong/,
  },
  {
    name: "reads go to any member",
    file: "src/store/mongo/connection.ts",
    from: 'readPreference: "primary",\n      writeConcern',
    to: 'readPreference: "nearest",\n      writeConcern',
    law: /not the signing key|as wrong|revoked token|were told/,
  },
  {
    name: "a duplicate key is answered as success",
    file: "src/store/mongo/written.ts",
    from: "if (isDuplicateKey(error)) return false;",
    to: "if (isDuplicateKey(error)) return true;",
    law: /./,
  },
  {
    name: "the keys are read as the primary alone has them",
    file: "src/store/mongo/keys.ts",
    from: '{ _id: "keys" }, proven));\n    return',
    to: '{ _id: "keys" }));\n    return',
    law: /the revocation of the key .* is lost|refuses a good token|does not renew a good token/,
  },
  {
    name: "a revocation does not change the list's version",
    file: "src/store/mongo/revocations.ts",
    from: "$inc: { count: 1 }",
    to: "$inc: { count: 0 }",
    law: /accepts a revoked token/,
  },
  {
    name: "only a disabled user is told to services",
    file: "src/revocations/recording-users.ts",
    from: "(change.disabled || change.tokensValidAfter)",
    to: "change.disabled",
    law: /accepts a revoked token/,
  },
  {
    name: "the list of revocations is kept for too long",
    file: "src/revocations/list.ts",
    from: "const cachedMs = 1000;",
    to: "const cachedMs = 20_000;",
    law: /accepts a revoked token/,
  },
  {
    name: "an unknown key is a wrong token while the keys cannot be loaded",
    file: "src/auth/keys/managed-keys.ts",
    from: "if (found.length === 0 && this.#replica.ageMs > freshnessMs)",
    to: "if (false as boolean)",
    law: /does not renew a good token/,
  },
];
