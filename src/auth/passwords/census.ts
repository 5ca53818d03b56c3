/**
 * Takes stock of the users before a cut-over: who can log in and who cannot and why, in memory that
 * does not grow with them. Depends on passwords and users.
 */
import { inspectHash, marksNoPassword, type HashReport } from "./passwords.js";
import { userIdsOfSubject, type User, type UserId, type UserStore } from "../users.js";

/** Why a user cannot log in, though nobody disabled him. */
export type CensusFault = "no_hash" | "unusable" | "over_ceiling" | "shared_subject";

export interface FaultyUsers {
  readonly fault: CensusFault | "disabled";
  /** What is wrong with the hash; undefined where it is not the hash. */
  readonly reason: string | undefined;
  readonly count: number;
  /** The first of them. */
  readonly examples: readonly Pick<User, "id" | "username">[];
}

export interface HashGroup {
  readonly family: string;
  /** Empty where the family has none, and for the users past the number of groups that are told apart. */
  readonly cost: HashReport["cost"];
  readonly users: number;
  readonly weak: boolean;
}

export interface Census {
  readonly users: number;
  readonly canLogIn: number;
  /** The usable hashes, the most frequent first. */
  readonly hashes: readonly HashGroup[];
  readonly faults: readonly FaultyUsers[];
}

const examplesMax = 20;
/** Some frameworks draw the cost of each hash at random. */
const costGroupsMax = 50;
const subjectsPerQuestion = 500;

type Users = Pick<UserStore, "list" | "existing">;

/** @throws AuthError `store_unavailable` */
export async function takeCensus(
  users: Users,
  onProgress: (users: number) => void,
): Promise<Census> {
  const hashes = new Map<string, { -readonly [K in keyof HashGroup]: HashGroup[K] }>();
  const faults = new FaultList();
  let ambiguous: { readonly user: User; readonly mayLogIn: boolean }[] = [];
  let count = 0;
  let canLogIn = 0;

  async function settleAmbiguous(): Promise<void> {
    const asked = ambiguous.flatMap(({ user }) => othersOf(user.id));
    const shared = new Set((await users.existing(asked)).map(({ value }) => value));
    for (const { user, mayLogIn } of ambiguous) {
      if (!shared.has(user.id.value)) continue;
      if (mayLogIn) canLogIn--;
      faults.add("shared_subject", undefined, user);
    }
    ambiguous = [];
  }

  function countHash({ family = "", cost, weak }: HashReport): void {
    const exact = JSON.stringify([family, cost]);
    const isToldApart = hashes.has(exact) || hashes.size < costGroupsMax;
    const label = isToldApart ? exact : JSON.stringify([family, weak]);
    const group = hashes.get(label);
    if (group) group.users++;
    else hashes.set(label, { family, cost: isToldApart ? cost : {}, users: 1, weak });
  }

  for await (const user of users.list()) {
    onProgress(++count);
    const { passwordHash: hash } = user;
    const report = hash === undefined || marksNoPassword(hash) ? undefined : inspectHash(hash);
    if (report === undefined) faults.add("no_hash", undefined, user);
    else if (report.verdict === "ok") countHash(report);
    else
      faults.add(report.verdict, [report.family, report.reason].filter(Boolean).join(": "), user);
    if (user.disabled) faults.add("disabled", undefined, user);
    const mayLogIn = report?.verdict === "ok" && !user.disabled;
    if (mayLogIn) canLogIn++;
    if (othersOf(user.id).length > 0) ambiguous.push({ user, mayLogIn });
    if (ambiguous.length >= subjectsPerQuestion) await settleAmbiguous();
  }
  await settleAmbiguous();
  return {
    users: count,
    canLogIn,
    hashes: [...hashes.values()].sort((a, b) => b.users - a.users),
    faults: faults.list(),
  };
}

/** The ids of other types that would have the same subject. */
const othersOf = (id: UserId) => userIdsOfSubject(id.value).filter(({ type }) => type !== id.type);

class FaultList {
  readonly #faults = new Map<string, FaultyUsers & { count: number; examples: User[] }>();

  add(fault: FaultyUsers["fault"], reason: string | undefined, user: User): void {
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
