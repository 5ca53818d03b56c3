/**
 * The import of users into MongoDB: plans a batch, writes it, and reads back what is stored wherever MongoDB's
 * answer does not tell. Depends on mongodb and the domain's ports.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { MongoBulkWriteError, MongoServerError } from "mongodb";
import type { Collection, Document, Filter, FindOptions } from "mongodb";
import { afterWrites, AuthError } from "../../auth/errors.js";
import { UnfinishedImport } from "../../auth/users.js";
import type { ImportOptions, ImportOutcome, UserToImport } from "../../auth/users.js";
import { planImport, planLoneUsers } from "../import-plan.js";
import type { Occupant, PlannedWrite } from "../import-plan.js";
import { outcomeUnknown, proven, type MongoAccess } from "./connection.js";
import { toUpdate } from "./document.js";
import type { UserDocument, UserMapping } from "./document.js";
import {
  duplicateKey,
  isDocumentFaultCode,
  asAuthError,
  isPassing,
  isUnconfirmed,
  ruleOf,
} from "./failures.js";
import type { UsernameIndex } from "./username-index.js";
import { hasUpdate, isEqual } from "./written.js";

/** How often an import plans again for users that other processes wrote in the meantime. */
const importAttempts = 5;
/** Values per `$in`; MongoDB recommends tens of them, not thousands. */
const questionUsers = 100;

/** How often, and after which pause, to check whether a majority has what the primary has. */
const confirmAttempts = 10;
const confirmPauseMs = 100;

const idText = (id: unknown) => `${typeof id}:${String(id)}`;

/** The result of some writes. */
interface Written {
  readonly done: PlannedWrite[];
  /** Writes that another document prevented. */
  readonly conflicts: PlannedWrite[];
  /** Writes that a rule of the collection refused, with that rule. */
  readonly refused: (readonly [PlannedWrite, string])[];
  /** Why the result of the remaining writes is unknown. */
  readonly failure?: unknown;
}

const nothingWritten: Written = { done: [], conflicts: [], refused: [] };

export class MongoUserImport {
  readonly #collection: Collection<UserDocument>;
  readonly #mapping: UserMapping;
  readonly #mongo: MongoAccess;
  readonly #index: UsernameIndex;
  readonly #collation: Pick<FindOptions, "collation">;

  constructor(
    collection: Collection<UserDocument>,
    mapping: UserMapping,
    mongo: MongoAccess,
    index: UsernameIndex,
  ) {
    this.#collection = collection;
    this.#mapping = mapping;
    this.#mongo = mongo;
    this.#index = index;
    this.#collation = mapping.collation ? { collation: mapping.collation } : {};
  }

  /** Imports a batch; the outcomes are in the order of `users`. @throws UnfinishedImport */
  async run(users: readonly UserToImport[], options: ImportOptions): Promise<ImportOutcome[]> {
    const outcomes = new Array<ImportOutcome | undefined>(users.length).fill(undefined);
    try {
      if (options.dryRun) return (await this.#plan(users, options)).outcomes;
      await this.#mongo.call(() => this.#index.prepare());
      let failure = await this.#addAtOnce(users, outcomes);
      if (isFinal(failure, outcomes, true)) throw asAuthError(failure);
      for (let attempt = 1; attempt <= importAttempts; attempt++) {
        if (!outcomes.includes(undefined)) break;
        const isFirst = failure === undefined;
        const written = this.#writePlanned(users, options, outcomes);
        failure = await (attempt > 1 ? written.catch(afterWrites) : written);
        if (isFinal(failure, outcomes, isFirst)) throw asAuthError(failure);
      }
      await this.#explain(users, outcomes);
      return outcomes as ImportOutcome[];
    } catch (error) {
      throw new UnfinishedImport(outcomes, AuthError.from(error));
    }
  }

  async #plan(users: readonly UserToImport[], options: ImportOptions) {
    return planImport(users, await this.#occupants(users), options, this.#mapping.usernameKey);
  }

  /** The documents that have an `_id` or username of the batch. */
  async #occupants(batch: readonly UserToImport[]): Promise<Occupant[]> {
    // Two queries, because a collation would apply to ids too.
    const questions = inParts(batch).map((part) => [
      this.#find({ _id: { $in: part.map(({ id }) => this.#mapping.ids.write(id)) } }),
      this.#find(
        this.#named(part.flatMap(({ username }) => this.#mapping.queriedForms(username))),
        this.#collation,
      ),
    ]);
    const found = await Promise.all(questions.flat());
    const unique = new Map(found.flat().map((each) => [idText(each._id), each]));
    return Array.from(unique.values(), (each) => this.#mapping.occupant(each));
  }

  async #storedIds(batch: readonly UserToImport[]): Promise<Set<string>> {
    const questions = inParts(batch).map((part) => {
      const filter = { _id: { $in: part.map(({ id }) => this.#mapping.ids.write(id)) } };
      return this.#find(filter, { projection: { _id: 1 } });
    });
    const found = await Promise.all(questions);
    return new Set(found.flat().map(({ _id }) => idText(_id)));
  }

  #find(filter: Filter<UserDocument>, options?: FindOptions): Promise<UserDocument[]> {
    const { projection } = this.#mapping;
    return this.#mongo.call(() =>
      this.#collection.find(filter, { projection, ...options }).toArray(),
    );
  }

  #named(names: readonly string[]): Filter<UserDocument> {
    return this.#mapping.nameFilter({ $in: names });
  }

  /**
   * Inserts without a plan and lets the unique indexes refuse conflicts: most imports have none. Leaves out
   * users whose `_id` is stored, and users who share an `_id` or username with another one of this import,
   * because their order matters.
   */
  async #addAtOnce(
    users: readonly UserToImport[],
    outcomes: (ImportOutcome | undefined)[],
  ): Promise<unknown> {
    // The MongoDB user may be allowed to write but not to list indexes.
    const isUnique = await this.#mongo.call(() => this.#index.isUnique()).catch(() => false);
    if (!isUnique) return undefined;
    const storedIds = await this.#storedIds(users);
    const lone = planLoneUsers(users, this.#mapping.usernameKey).filter(
      ({ user: { id, username } }) =>
        !storedIds.has(idText(this.#mapping.ids.write(id))) &&
        // The index may tell two Unicode forms of one name apart.
        this.#mapping.queriedUsername(username) === this.#mapping.askedUsername(username),
    );
    const written = await this.#insert(lone);
    for (const { positions } of written.done) {
      for (const position of positions) outcomes[position] = "added";
    }
    settleRefused(written, outcomes, [...users.keys()]);
    return written.failure;
  }

  /** Plans and writes the users without an outcome. A user whose write met a new conflict stays without one. */
  async #writePlanned(
    users: readonly UserToImport[],
    options: ImportOptions,
    outcomes: (ImportOutcome | undefined)[],
  ): Promise<unknown> {
    const positions = [...users.keys()].filter((position) => outcomes[position] === undefined);
    const batch = positions.flatMap((position) => users[position] ?? []);
    const plan = await this.#plan(batch, options);
    const planned = new Set(plan.writes.flatMap((write) => write.positions));
    const settle = (i: number) => {
      const position = positions[i];
      if (position !== undefined) outcomes[position] = plan.outcomes[i];
    };
    for (const i of positions.keys()) if (!planned.has(i)) settle(i);
    const inserted = await this.#insert(plan.writes.filter(({ previous }) => !previous));
    const replaced = await this.#replace(plan.writes.filter(({ previous }) => previous));
    for (const written of [inserted, replaced]) {
      written.done.flatMap((write) => write.positions).forEach(settle);
      settleRefused(written, outcomes, positions);
    }
    return inserted.failure ?? replaced.failure;
  }

  async #insert(writes: readonly PlannedWrite[]): Promise<Written> {
    if (writes.length === 0) return nothingWritten;
    const documents = writes.map(({ user }) => this.#mapping.document(user));
    return this.#mongo.call(async () => {
      try {
        const { insertedCount } = await this.#collection.insertMany(documents, { ordered: false });
        if (insertedCount === writes.length) return { ...nothingWritten, done: [...writes] };
        throw new MongoServerError({ message: "MongoDB did not write every document" });
      } catch (error) {
        const sorted = sortFaults(writes, error);
        const isWhole =
          sorted && (error as MongoBulkWriteError).insertedCount === sorted.done.length;
        return isWhole ? sorted : this.#lookUp(writes, documents, error);
      }
    });
  }

  /** Reads which of the documents are stored, after an answer that does not tell. */
  async #lookUp(
    writes: readonly PlannedWrite[],
    documents: readonly UserDocument[],
    failure: unknown,
  ): Promise<Written> {
    const ids = documents.map(({ _id }) => _id);
    const stored = await this.#stored(ids, failure);
    const isStored = (i: number) => {
      const document = documents[i];
      const found = document && stored.get(idText(document._id));
      return found !== undefined && isEqual(found, document);
    };
    return { ...nothingWritten, done: writes.filter((_, i) => isStored(i)), failure };
  }

  /**
   * The documents with these ids, once a majority holds them and no election can take them back.
   * @throws AuthError `store_unavailable` if that cannot be established
   */
  async #stored(ids: readonly unknown[], failure: unknown): Promise<Map<string, UserDocument>> {
    const filter = { _id: { $in: ids } } as Filter<UserDocument>;
    try {
      for (let attempt = 1; attempt <= confirmAttempts; attempt++) {
        const found = await this.#collection.find(filter).toArray();
        // The server has reported that no majority holds the write: reading again would prove nothing.
        const proof = isUnconfirmed(failure)
          ? found
          : await this.#collection.find(filter, proven).toArray();
        if (isEqual(found, proof)) return new Map(found.map((each) => [idText(each._id), each]));
        await sleep(confirmPauseMs);
      }
    } catch {
      // Thrown below.
    }
    throw outcomeUnknown(failure);
  }

  async #replace(writes: readonly PlannedWrite[]): Promise<Written> {
    if (writes.length === 0) return nothingWritten;
    const operations = writes.map((write) => ({ updateOne: this.#replacement(write) }));
    return this.#mongo.call(async () => {
      try {
        const { matchedCount } = await this.#collection.bulkWrite(operations, { ordered: false });
        // MongoDB does not say which ones did not match. All are planned again: replacing twice does no harm.
        if (matchedCount !== writes.length) return { ...nothingWritten, conflicts: [...writes] };
        return { ...nothingWritten, done: [...writes] };
      } catch (error) {
        const sorted = sortFaults(writes, error);
        if (sorted === undefined) return this.#lookUpReplaced(writes, operations, error);
        const { done, conflicts } = sorted;
        return (error as MongoBulkWriteError).matchedCount === done.length
          ? sorted
          : { ...sorted, done: [], conflicts: [...conflicts, ...done] };
      }
    });
  }

  async #lookUpReplaced(
    writes: readonly PlannedWrite[],
    operations: readonly { updateOne: { update: Document } }[],
    failure: unknown,
  ): Promise<Written> {
    const ids = writes.map(({ user }) => this.#mapping.ids.write(user.id));
    const stored = await this.#stored(ids, failure);
    const done = writes.filter(({ user }, i) => {
      const found = stored.get(idText(this.#mapping.ids.write(user.id)));
      const update = operations[i]?.updateOne.update;
      return found !== undefined && update !== undefined && hasUpdate(found, update);
    });
    return { ...nothingWritten, done, failure };
  }

  #replacement({ user, previous }: PlannedWrite) {
    const { password, tokensValidAfter, roles } = this.#mapping.fields;
    const same = [
      ...(user.passwordHash === previous?.passwordHash ? [password] : []),
      ...(user.tokensValidAfter === previous?.tokensValidAfter ? [tokensValidAfter] : []),
      ...(isEqual(user.roles, previous?.roles) ? [roles] : []),
      ...(user.disabled === previous?.disabled
        ? Object.keys(this.#mapping.flagValues(user.disabled))
        : []),
    ];
    // Unchanged values are not written: the framework may store them in another form.
    const changes = Object.entries(this.#mapping.values(user)).filter(
      ([path]) => !same.includes(path),
    );
    return {
      filter: {
        _id: this.#mapping.ids.write(user.id),
        ...this.#mapping.nameFilter({ $eq: previous?.username ?? user.username }),
        ...previous?.hashFields,
      },
      update: toUpdate(Object.fromEntries(changes)) ?? {},
    };
  }

  /** Finds the reason for each user that could not be written although no plan found a conflict. */
  async #explain(
    users: readonly UserToImport[],
    outcomes: (ImportOutcome | undefined)[],
  ): Promise<void> {
    for (const [position, user] of users.entries()) {
      if (outcomes[position] !== undefined) continue;
      const names = this.#mapping.queriedForms(user.username);
      const [sameId] = await this.#find({ _id: this.#mapping.ids.write(user.id) }, { limit: 1 });
      const [sameName] = await this.#find(this.#named(names), { limit: 1, ...this.#collation });
      const inTheWay = sameId ? "id_taken" : sameName ? "username_taken" : undefined;
      outcomes[position] = inTheWay ?? { refused: await this.#otherRule() };
    }
  }

  async #otherRule(): Promise<string> {
    const names = await this.#mongo.call(() => this.#index.otherUnique()).catch(() => []);
    return names.length === 0
      ? "is refused by another unique index of the collection"
      : `is refused by a unique index of the collection: ${names.join(" or ")}`;
  }
}

/** Whether a failure ends the import. It does not if every user has an outcome. */
function isFinal(
  failure: unknown,
  outcomes: readonly (ImportOutcome | undefined)[],
  mayTryAgain: boolean,
): boolean {
  if (failure === undefined) return false;
  if (isUnconfirmed(failure)) return true;
  return outcomes.includes(undefined) && !(mayTryAgain && isPassing(failure));
}

const inParts = (users: readonly UserToImport[]) =>
  Array.from({ length: Math.ceil(users.length / questionUsers) }, (_, i) =>
    users.slice(i * questionUsers, (i + 1) * questionUsers),
  );

/** Sorts the writes by their own errors; undefined if the error is not about single documents. */
function sortFaults(writes: readonly PlannedWrite[], error: unknown): Written | undefined {
  if (!(error instanceof MongoBulkWriteError) || isUnconfirmed(error)) return undefined;
  const faults = [error.writeErrors].flat();
  if (faults.length === 0 || !faults.every(({ code }) => isDocumentFaultCode(code))) {
    return undefined;
  }
  const codes = new Map(faults.map(({ index, code }) => [index, code]));
  return {
    done: writes.filter((_, i) => !codes.has(i)),
    conflicts: writes.filter((_, i) => codes.get(i) === duplicateKey),
    refused: faults.flatMap(({ index, code }) => {
      const write = writes[index];
      return write === undefined || code === duplicateKey ? [] : [[write, ruleOf(code)] as const];
    }),
  };
}

function settleRefused(
  { refused }: Written,
  outcomes: (ImportOutcome | undefined)[],
  positions: readonly number[],
): void {
  for (const [write, rule] of refused) {
    for (const i of write.positions) {
      const position = positions[i];
      if (position !== undefined) outcomes[position] = { refused: rule };
    }
  }
}
