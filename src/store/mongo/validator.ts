/**
 * Finds the commands whose writes a validator of an adopted collection would refuse, for example because it forbids
 * new fields. Lets MongoDB apply the validator to a changed copy of a stored document; writes nothing. Depends on
 * mongodb.
 */
import type { Collection, CollectionInfo, Db, Document } from "mongodb";
import type { UserChange } from "../../auth/users.js";
import type { Finding } from "../inspection.js";
import type { MongoAccess } from "./connection.js";
import type { UserDocument, UserMapping } from "./document.js";
import { refusalOf } from "./failures.js";

interface Validated {
  readonly db: Db;
  readonly users: Collection<UserDocument>;
  readonly hashes: Collection<UserDocument> | undefined;
  readonly mapping: UserMapping;
  readonly mongo: MongoAccess;
}

const deeds: Readonly<Record<string, UserChange>> = {
  "users revoke": { tokensValidAfter: new Date() },
  "users disable": { disabled: true },
  "users passwd": {
    tokensValidAfter: new Date(),
    passwordHash: `$argon2id$v=19$m=19456,t=2,p=1$${"A".repeat(22)}$${"A".repeat(43)}`,
  },
};

/** Yields nothing if the validators allow all writes. */
export async function* validatorFindings(validated: Validated): AsyncGenerator<Finding> {
  const check = "validator";
  try {
    const refused = await refusedDeeds(validated);
    if (refused.size === 0) return;
    yield {
      level: "error",
      check,
      message: `the validator of ${validated.users.collectionName} would refuse the writes of ${[...refused].join(", ")}`,
      remedy:
        "allow their fields in the validator (collMod), or set USERS_TOKENS_VALID_AFTER_FIELD and USERS_DISABLED_FIELD to fields that it allows",
    };
  } catch (error) {
    const refusal = refusalOf(error);
    if (refusal === undefined) throw error;
    const message = `it is not known whether a validator refuses the writes of commands: ${refusal}`;
    yield { level: "warning", check, message };
  }
}

async function refusedDeeds({
  db,
  users,
  hashes,
  mapping,
  mongo,
}: Validated): Promise<Set<string>> {
  const refused = new Set<string>();
  const { filter = {} } = mapping.hash.collection ?? {};
  for (const collection of new Set([users, hashes ?? users])) {
    const validator = await mongo.call(() => validatorOf(db, collection.collectionName));
    if (validator === undefined) continue;
    const one = collection === users ? mapping.nameFilter({ $type: "string" }) : filter;
    const sample = await mongo.call(() => collection.findOne({ $and: [one, validator] }));
    if (sample === null) continue;
    for (const [command, { passwordHash, ...change }] of Object.entries(deeds)) {
      const updates = [
        collection === users && mapping.update(change, sample),
        collection === (hashes ?? users) && passwordHash && mapping.hashUpdate(passwordHash),
      ];
      const pipeline = [
        { $match: { _id: sample._id } },
        ...updates.flatMap((update) => (update ? stagesOf(update) : [])),
        { $match: { $nor: [validator] } },
      ];
      const unfit = await mongo.call(() => collection.aggregate(pipeline).toArray());
      if (unfit.length > 0) refused.add(command);
    }
  }
  return refused;
}

/** The validator of a collection; undefined if there is none, or if it refuses nothing. */
async function validatorOf(db: Db, name: string): Promise<Document | undefined> {
  const [info] = (await db.listCollections({ name }).toArray()) as CollectionInfo[];
  const { validator, validationAction, validationLevel } = info?.options ?? {};
  const isHeld = validationAction !== "warn" && validationLevel !== "off";
  return isHeld && validator ? (validator as Document) : undefined;
}

/** An update as stages of an aggregation. `$literal` keeps texts that begin with `$` from being read as paths. */
function stagesOf({ $set = {}, $unset = {} }: Document): Document[] {
  const values = Object.entries<unknown>($set as Document);
  const literals = values.map(([path, value]) => [path, { $literal: value }] as const);
  const paths = Object.keys($unset as Document);
  return [
    ...(literals.length > 0 ? [{ $set: Object.fromEntries(literals) }] : []),
    ...(paths.length > 0 ? [{ $unset: paths }] : []),
  ];
}
