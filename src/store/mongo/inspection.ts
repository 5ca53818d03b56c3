/**
 * Looks at a MongoDB as `doctor` does: its clock, our privileges, the index on the username. Writes
 * nothing but that index, and only if asked. Depends on mongodb.
 */
import { MongoServerError } from "mongodb";
import type { Collection, Db, Document } from "mongodb";
import type { User } from "../../auth/users.js";
import type { Finding, InspectionOptions } from "../inspection.js";
import type { UsernameIndex } from "./username-index.js";
import type { MongoCall } from "./connection.js";
import type { UserDocument, UserMapping } from "./document.js";

const clockWarningMs = 1000;
const clockErrorMs = 10_000;
const examplesMax = 20;

export interface InspectedMongo {
  readonly db: Db;
  readonly users: Collection<UserDocument>;
  readonly hashes: Collection<UserDocument> | undefined;
  readonly mapping: UserMapping;
  readonly index: UsernameIndex;
  readonly call: MongoCall;
}

/** @throws AuthError `store_unavailable` */
export async function* inspectMongo(
  mongo: InspectedMongo,
  { fix, now }: InspectionOptions,
): AsyncGenerator<Finding> {
  const { db, call } = mongo;
  const startMs = now();
  const hello = await call(() => db.command({ hello: 1 }));
  const endMs = now();
  const { version } = (await call(() => db.command({ buildInfo: 1 }))) as { version?: string };
  const database = `MongoDB ${version ?? ""}, database ${db.databaseName}`;
  yield {
    level: "ok",
    check: "connection",
    message: `${database}, answers in ${endMs - startMs} ms`,
  };
  yield clockFinding(hello["localTime"], startMs, endMs);
  yield* privilegeFindings(mongo);
  yield* indexFindings(mongo, fix);
  const { users, mapping } = mongo;
  const foreign = await call(() =>
    users.countDocuments({
      $or: [
        { [mapping.fields.username]: { $not: { $type: "string" } } },
        { $nor: idTypes.map((type) => ({ _id: { $type: type } })) },
      ],
    }),
  );
  if (foreign === 0) return;
  yield {
    level: "warning",
    check: "users",
    message: `${foreign} documents are no users: no ${mapping.fields.username} that is a string, or an _id of a type that has no subject`,
    remedy: "check USERS_USERNAME_FIELD if these are too many",
  };
}

const idTypes = ["string", "int", "long", "double", "objectId", "binData"] as const;

function clockFinding(localTime: unknown, startMs: number, endMs: number): Finding {
  const check = "clock";
  if (!(localTime instanceof Date)) {
    return { level: "warning", check, message: "the database does not tell its time" };
  }
  const time = localTime.getTime();
  const offMs = Math.max(0, startMs - time, time - endMs);
  const message = `the clocks of this machine and of the database differ by ${offMs} ms`;
  if (offMs < clockWarningMs) return { level: "ok", check, message };
  return {
    level: offMs < clockErrorMs ? "warning" : "error",
    check,
    message,
    remedy: "let NTP set both: tokens and revocations are compared by the second",
  };
}

/** What the service does, by collection. */
const usersActions = ["find", "update"];
const ownActions = ["find", "insert", "update", "remove", "createIndex"];

async function* privilegeFindings({
  db,
  users,
  hashes,
  call,
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
    const remedy = "turn access control on: whoever reaches this database can read every hash";
    yield { level: "warning", check, message: "the connection is not authenticated", remedy };
    return;
  }
  const missing = [
    ...[users, ...(hashes ? [hashes] : [])].map(
      (each) => [each.collectionName, usersActions] as const,
    ),
    ...["latchkey_keys", "latchkey_throttle"].map((name) => [name, ownActions] as const),
  ].flatMap(([collection, actions]) => {
    const granted = authenticatedUserPrivileges
      .filter(({ resource }) => covers(resource, db.databaseName, collection))
      .flatMap((privilege) => privilege.actions);
    const lacking = actions.filter(
      (action) => !granted.includes(action) && !granted.includes("anyAction"),
    );
    return lacking.length > 0 ? [`${lacking.join(", ")} on ${collection}`] : [];
  });
  if (missing.length === 0) {
    yield { level: "ok", check, message: "all that the service needs" };
    return;
  }
  const message = `the user of MONGODB_URI lacks ${missing.join("; ")}`;
  yield { level: "error", check, message, remedy: "grant a role with these actions" };
}

function covers(resource: Document, database: string, collection: string): boolean {
  const { anyResource, db, collection: name } = resource as Record<string, unknown>;
  if (anyResource === true) return true;
  return (db === "" || db === database) && (name === "" || name === collection);
}

async function* indexFindings(mongo: InspectedMongo, fix: boolean): AsyncGenerator<Finding> {
  const { users, mapping, index, call, hashes } = mongo;
  const where = `${mapping.fields.username} of ${users.collectionName}`;
  if (!(await call(() => index.isUnique()))) {
    const duplicates = await findDuplicates(mongo);
    if (duplicates.count > 0) {
      yield {
        level: "error",
        check: "uniqueness",
        message: `${duplicates.count} users have a name that another one has too by USERNAME_MATCH: none of them can log in`,
        remedy: "rename or remove all but one of each name, then run doctor --fix",
        users: duplicates.examples,
      };
    } else if (fix) {
      await call(() => index.create());
      yield { level: "ok", check: "uniqueness", message: `made the unique index on ${where}` };
    } else {
      const message = `no unique index on ${where}, though no name occurs twice yet`;
      yield { level: "warning", check: "uniqueness", message, remedy: "run doctor --fix" };
    }
  } else {
    yield { level: "ok", check: "uniqueness", message: `a unique index on ${where}` };
  }
  const filter = { [mapping.fields.username]: { $eq: "a", ...mapping.nameCondition } };
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

function planFinding(plan: Document, good: string, bad: string, remedy: string): Finding {
  const { winningPlan } = (plan["queryPlanner"] ?? {}) as { winningPlan?: unknown };
  const check = "index";
  return JSON.stringify(winningPlan ?? plan).includes('"COLLSCAN"')
    ? { level: "error", check, message: bad, remedy }
    : { level: "ok", check, message: good };
}

type Example = Pick<User, "id" | "username">;

/** Users of one name follow each other when sorted by it. */
async function findDuplicates({ users, mapping, call }: InspectedMongo) {
  const { username } = mapping.fields;
  const cursor = users.find(
    { [username]: { $type: "string" } },
    {
      projection: mapping.projection,
      sort: { [username]: 1 },
      allowDiskUse: true,
      ...(mapping.collation && { collation: mapping.collation }),
    },
  );
  const examples: Example[] = [];
  let count = 0;
  let previous: Example | undefined;
  let isRepeated = false;
  try {
    for (;;) {
      const first = await call(() => cursor.next().catch(rethrowTooLarge));
      if (first === null) break;
      for (const document of [first, ...cursor.readBufferedDocuments()]) {
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
  } finally {
    await call(() => cursor.close()).catch(() => undefined);
  }
}

function rethrowTooLarge(error: unknown): never {
  if (error instanceof MongoServerError) error.message = `sorting by username: ${error.message}`;
  throw error;
}
