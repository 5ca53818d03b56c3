/**
 * The checks of `doctor` on MongoDB: its clock, our privileges, the index on the username, validators. Writes
 * nothing but that index, and only with `fix`. Depends on mongodb.
 */
import type { Collection, Db, Document } from "mongodb";
import type { User } from "../../auth/users.js";
import type { Finding, InspectionOptions } from "../inspection.js";
import { neededCollections, optionalCollections } from "./collections.js";
import { unlisted, type UsernameIndex } from "./username-index.js";
import { overriddenOptions, type MongoAccess } from "./connection.js";
import type { UserDocument, UserMapping } from "./document.js";
import { asAuthError, refusalOf } from "./failures.js";
import { validatorFindings } from "./validator.js";

const clockWarningMs = 1000;
const clockErrorMs = 10_000;
const examplesMax = 20;

export interface InspectedMongo {
  readonly db: Db;
  readonly users: Collection<UserDocument>;
  readonly hashes: Collection<UserDocument> | undefined;
  readonly mapping: UserMapping;
  readonly index: UsernameIndex;
  readonly mongo: MongoAccess;
  readonly uri: string;
}

/** @throws AuthError `store_unavailable` */
export async function* inspectMongo(
  inspected: InspectedMongo,
  { fix, now }: InspectionOptions,
): AsyncGenerator<Finding> {
  const {
    db,
    uri,
    mongo: { call },
  } = inspected;
  const startMs = now();
  const hello = await call(() => db.command({ hello: 1 }));
  const endMs = now();
  yield await connectionFinding(inspected, endMs - startMs);
  for (const message of overriddenOptions(uri)) {
    yield { level: "warning", check: "configuration", message };
  }
  yield clockFinding(hello["localTime"], startMs, endMs);
  yield* orRefusal("privileges", () => privilegeFindings(inspected));
  if (await call(() => inspected.index.isEmpty())) {
    yield noUsersFinding(inspected);
    return;
  }
  yield* orRefusal("index", () => indexFindings(inspected, fix));
  yield* validatorFindings(inspected);
}

async function connectionFinding(
  { db, mongo: { call } }: InspectedMongo,
  answerMs: number,
): Promise<Finding> {
  const check = "connection";
  const { version = "" } = (await call(() => db.command({ buildInfo: 1 }))) as { version?: string };
  const message = `MongoDB ${version}, database ${db.databaseName}, answers in ${answerMs} ms`;
  const [major = 0, minor = 0] = version.split(".").map(Number);
  if (version === "" || major > oldest[0] || (major === oldest[0] && minor >= oldest[1])) {
    return { level: "ok", check, message };
  }
  const remedy = `upgrade it: the oldest version that Latchkey is made for is ${oldest.join(".")}`;
  return { level: "error", check, message, remedy };
}

/** The oldest version that the driver supports. */
const oldest = [4, 4] as const;

function noUsersFinding({ db, users }: InspectedMongo): Finding {
  return {
    level: "error",
    check: "users",
    message: `0 users in the collection ${users.collectionName} of the database ${db.databaseName}`,
    remedy:
      "check MONGODB_URI and USERS_COLLECTION; in a new database `users add` makes the first user and the index",
  };
}

/** Turns a refusal of MongoDB into a finding, so that the other checks go on. */
async function* orRefusal(
  check: Finding["check"],
  inspect: () => AsyncIterable<Finding>,
): AsyncGenerator<Finding> {
  try {
    yield* inspect();
  } catch (error) {
    const refusal = refusalOf(error);
    if (refusal === undefined) throw error;
    yield { level: "error", check, message: `cannot be checked: ${refusal}` };
  }
}

function clockFinding(localTime: unknown, startMs: number, endMs: number): Finding {
  const check = "clock";
  if (!(localTime instanceof Date)) {
    return { level: "warning", check, message: "the database does not report its time" };
  }
  const time = localTime.getTime();
  const offMs = Math.max(0, startMs - time, time - endMs);
  const message = `the clocks of this machine and of the database differ by ${offMs} ms`;
  if (offMs < clockWarningMs) return { level: "ok", check, message };
  return {
    level: offMs < clockErrorMs ? "warning" : "error",
    check,
    message,
    remedy:
      "synchronize both by NTP: the times of tokens and revocations are compared to the second",
  };
}

/** The actions of the service on the users' collection, and on its own. */
const usersActions = ["find", "update"];
const ownActions = ["find", "insert", "update", "remove", "createIndex"];

async function* privilegeFindings({
  db,
  users,
  hashes,
  mongo: { call },
}: InspectedMongo): AsyncGenerator<Finding> {
  const check = "privileges";
  const { authInfo } = (await call(() =>
    db.command({ connectionStatus: 1, showPrivileges: true }),
  )) as { authInfo?: Document };
  const { authenticatedUsers = [], authenticatedUserPrivileges = [] } = (authInfo ?? {}) as {
    authenticatedUsers?: unknown[];
    authenticatedUserPrivileges?: { resource: Document; actions: string[] }[];
  };
  if (authenticatedUsers.length === 0) {
    const remedy = "turn access control on: anybody who reaches this database can read every hash";
    yield { level: "warning", check, message: "the connection is not authenticated", remedy };
    return;
  }
  const lacking = (collection: string, actions: readonly string[]) => {
    const granted = authenticatedUserPrivileges
      .filter(({ resource }) => covers(resource, db.databaseName, collection))
      .flatMap((privilege) => privilege.actions);
    const missing = actions.filter(
      (action) => !granted.includes(action) && !granted.includes("anyAction"),
    );
    return missing.length > 0 ? [`${missing.join(", ")} on ${collection}`] : [];
  };
  const missing = [
    ...[users, ...(hashes ? [hashes] : [])].flatMap((each) =>
      lacking(each.collectionName, usersActions),
    ),
    ...Object.values(neededCollections).flatMap((name) => lacking(name, ownActions)),
  ];
  const remedy = "grant a role with these actions";
  const lacks = (list: readonly string[]) => `the user of MONGODB_URI lacks ${list.join("; ")}`;
  yield missing.length === 0
    ? { level: "ok", check, message: "the user of MONGODB_URI may do all that the service needs" }
    : { level: "error", check, message: lacks(missing), remedy };
  for (const [setting, names] of Object.entries(optionalCollections)) {
    const others = names.flatMap((name) => lacking(name, ownActions));
    if (others.length === 0) continue;
    yield { level: "warning", check, message: `${lacks(others)}, for ${setting}`, remedy };
  }
}

function covers(resource: Document, database: string, collection: string): boolean {
  const { anyResource, db, collection: name } = resource as Record<string, unknown>;
  if (anyResource === true) return true;
  return (db === "" || db === database) && (name === "" || name === collection);
}

async function* indexFindings(inspected: InspectedMongo, fix: boolean): AsyncGenerator<Finding> {
  const { users, mapping, hashes } = inspected;
  const { call } = inspected.mongo;
  const where = `${mapping.indexPath} of ${users.collectionName}`;
  yield await uniquenessFinding(inspected, where, fix);
  const filter = mapping.lookupFilter({ $eq: "a" });
  const collation = mapping.collation ? { collation: mapping.collation } : {};
  yield planFinding(
    await call(() => users.find(filter, { limit: 2, ...collation }).explain("queryPlanner")),
    `a login finds its user by an index on ${where}`,
    `a login reads the whole collection ${users.collectionName} to find its user`,
    "run doctor --fix",
  );
  if (hashes === undefined) return;
  const { userId = "", filter: more = {} } = mapping.hash.collection ?? {};
  yield planFinding(
    await call(() => hashes.find({ ...more, [userId]: "a" }).explain("queryPlanner")),
    `a login finds its hash by an index on ${userId} of ${hashes.collectionName}`,
    `a login reads the whole collection ${hashes.collectionName} to find its hash`,
    `create an index on ${userId} of ${hashes.collectionName}`,
  );
}

async function uniquenessFinding(
  inspected: InspectedMongo,
  where: string,
  fix: boolean,
): Promise<Finding> {
  const { index, mongo } = inspected;
  const { call } = mongo;
  const check = "uniqueness";
  if (await call(() => index.isUnique())) {
    return { level: "ok", check, message: `a unique index on ${where}` };
  }
  const duplicates = await findDuplicates(inspected);
  if (duplicates.count > 0) {
    return {
      level: "error",
      check,
      message: `${duplicates.count} users have the name of another user, compared by USERNAME_MATCH: none of them can log in`,
      remedy: "rename or remove all but one of each name, then run doctor --fix",
      users: duplicates.examples,
    };
  }
  if (!fix) {
    const isListed = (await call(() => index.usable())) !== undefined;
    const message = isListed
      ? `no unique index on ${where}, though no name occurs twice yet`
      : `${unlisted}; it is not known whether there is a unique index on ${where}`;
    return { level: "warning", check, message, remedy: "run doctor --fix" };
  }
  const failure = await makeIndex(inspected);
  if (failure === undefined) {
    return { level: "ok", check, message: `made the unique index on ${where}` };
  }
  const others = await call(() => index.unusable());
  return {
    level: "error",
    check,
    message: `the unique index on ${where} could not be made: ${failure}`,
    ...(others.length > 0 && {
      remedy: `drop these indexes on it, which are not usable, and run doctor --fix: ${others.join(", ")}`,
    }),
  };
}

/** Makes the index. Resolves with why there is none, or with undefined if there is one. */
async function makeIndex({ index, mongo }: InspectedMongo): Promise<string | undefined> {
  let refusal: string | undefined;
  try {
    const isMade = await mongo.write(
      async () => (refusal = await index.create()) === undefined,
      () => index.isUnique(),
    );
    // A refusal does not matter if another process has made the index.
    return isMade || (await mongo.call(() => index.isUnique())) ? undefined : refusal;
  } catch (error) {
    return asAuthError(error).message;
  }
}

function planFinding(plan: Document, good: string, bad: string, remedy: string): Finding {
  const { winningPlan } = (plan["queryPlanner"] ?? {}) as { winningPlan?: unknown };
  const check = "index";
  return JSON.stringify(winningPlan ?? plan).includes('"COLLSCAN"')
    ? { level: "error", check, message: bad, remedy }
    : { level: "ok", check, message: good };
}

type Example = Pick<User, "id" | "username">;

/** Counts the users who share a name. Sorted by name, they follow each other. */
async function findDuplicates({ users, mapping, mongo }: InspectedMongo) {
  const { username } = mapping.fields;
  const filter = { [username]: { $type: "string" } };
  const options = {
    projection: mapping.projection,
    sort: { [username]: 1 },
    allowDiskUse: true,
    ...(mapping.collation && { collation: mapping.collation }),
  } as const;
  const examples: Example[] = [];
  let count = 0;
  let previous: Example | undefined;
  let isRepeated = false;
  for await (const page of mongo.pages(() => users.find(filter, options))) {
    for (const document of page) {
      const user = mapping.user(document);
      if (user === undefined) continue;
      const isSame =
        previous !== undefined && mapping.isSameUsername(previous.username, user.username);
      const found = isSame && previous ? (isRepeated ? [user] : [previous, user]) : [];
      count += found.length;
      examples.push(...found.slice(0, examplesMax - examples.length));
      isRepeated = isSame;
      previous = user;
    }
  }
  return { count, examples };
}
