/**
 * Counts the users before a cut-over: who can log in, who cannot, and why. Its memory does not grow with the
 * number of users. Depends on passwords and users.
 */
import { inspectHash, marksNoPassword, type HashReport } from "./passwords.js";
import {
  userIdsOfSubject,
  type User,
  type UserId,
  type UserRecord,
  type UserRecordFault,
  type UserStore,
} from "../users.js";

/**
 * Why an enabled user cannot log in. With `shared_subject` and `note` he can, but something else goes wrong.
 */
export type CensusFault =
  UserRecordFault["kind"] | "no_hash" | "unusable" | "over_ceiling" | "shared_subject" | "note";

export interface FaultyUsers {
  readonly fault: CensusFault | "disabled";
  /** What is wrong with the record or the hash; undefined if `fault` alone says it. */
  readonly reason: string | undefined;
  readonly count: number;
  /** The first of these users. */
  readonly examples: readonly Pick<User, "id" | "username">[];
}

export interface HashGroup {
  readonly family: string;
  /** Empty if the family has no cost, and for the remaining users once there are too many groups. */
  readonly cost: HashReport["cost"];
  readonly users: number;
  readonly weak: boolean;
  /** The assumed format, if the hashes do not name theirs. */
  readonly assumed: string | undefined;
}

export interface Census {
  /** All records, including those that cannot be users. */
  readonly users: number;
  readonly canLogIn: number;
  /** How many more can log in if their hashes, which do not name their format, are in the assumed one. */
  readonly assumed: number;
  /** The usable hashes, the most frequent first. */
  readonly hashes: readonly HashGroup[];
  readonly faults: readonly FaultyUsers[];
}

const examplesMax = 20;
/** Limited, because some frameworks choose the cost of each hash at random. */
const costGroupsMax = 50;
const subjectsPerQuestion = 500;

type Users = Pick<UserStore, "records" | "existing">;

/**
 * Reads every user and counts them.
 * @param onProgress receives the number of records read so far
 * @throws AuthError `store_unavailable`
 */
export async function takeCensus(
  users: Users,
  onProgress: (users: number) => void,
): Promise<Census> {
  const hashes = new Map<string, { -readonly [K in keyof HashGroup]: HashGroup[K] }>();
  const faults = new FaultList();
  let ambiguous: User[] = [];
  let count = 0;
  const able = { certain: 0, assumed: 0 };

  async function settleAmbiguous(): Promise<void> {
    const asked = ambiguous.flatMap(({ id }) => othersOf(id));
    const shared = new Set((await users.existing(asked)).map(({ value }) => value));
    for (const user of ambiguous) {
      if (shared.has(user.id.value)) faults.add("shared_subject", undefined, user);
    }
    ambiguous = [];
  }

  function countHash({ family = "", cost, weak, assumed }: HashReport): void {
    const exact = JSON.stringify([family, cost]);
    const isToldApart = hashes.has(exact) || hashes.size < costGroupsMax;
    const label = isToldApart ? exact : JSON.stringify([family, weak]);
    const group = hashes.get(label);
    if (group) group.users++;
    else hashes.set(label, { family, cost: isToldApart ? cost : {}, users: 1, weak, assumed });
  }

  for await (const record of users.records()) {
    onProgress(++count);
    const { user, fault } = record;
    const example = user ?? { id: { type: "string", value: record.id }, username: "" };
    if (fault) faults.add(fault.kind, fault.reason, example);
    for (const note of record.notes) faults.add("note", note, example);
    if (user === undefined) continue;
    if (user.username.includes(":")) {
      faults.add("note", "a name with a colon, which HTTP Basic cannot carry", user);
    }
    if (user.disabled) faults.add("disabled", undefined, user);
    const report = reportOn(record, user);
    if (report.verdict !== "ok") {
      faults.add(report.verdict, report.reason, user);
      continue;
    }
    countHash(report);
    const kind = fault || user.disabled ? undefined : report.assumed ? "assumed" : "certain";
    if (kind) able[kind]++;
    if (othersOf(user.id).length > 0) ambiguous.push(user);
    if (ambiguous.length >= subjectsPerQuestion) await settleAmbiguous();
  }
  await settleAmbiguous();
  return {
    users: count,
    canLogIn: able.certain,
    assumed: able.assumed,
    hashes: [...hashes.values()].sort((a, b) => b.users - a.users),
    faults: faults.list(),
  };
}

/** The ids of other types that would have the same subject. */
const othersOf = (id: UserId) => userIdsOfSubject(id.value).filter(({ type }) => type !== id.type);

type HashVerdict =
  | (HashReport & { readonly verdict: "ok" })
  | { readonly verdict: "no_hash" | "unusable" | "over_ceiling"; readonly reason?: string };

function reportOn({ hashFault }: UserRecord, { passwordHash: hash }: User): HashVerdict {
  if (hashFault !== undefined) return { verdict: "unusable", reason: hashFault };
  if (hash === undefined || marksNoPassword(hash)) return { verdict: "no_hash" };
  const report = inspectHash(hash);
  const { verdict, family, reason } = report;
  if (verdict === "ok") return { ...report, verdict };
  return { verdict, reason: [family, reason].filter(Boolean).join(": ") };
}

type Example = FaultyUsers["examples"][number];

class FaultList {
  readonly #faults = new Map<string, FaultyUsers & { count: number; examples: Example[] }>();

  add(fault: FaultyUsers["fault"], reason: string | undefined, user: Example): void {
    const label = `${fault} ${reason ?? ""}`;
    const known = this.#faults.get(label) ?? { fault, reason, count: 0, examples: [] };
    known.count++;
    if (known.examples.length < examplesMax) known.examples.push(user);
    this.#faults.set(label, known);
  }

  list(): FaultyUsers[] {
    return [...this.#faults.values()].sort((a, b) => b.count - a.count);
  }
}
