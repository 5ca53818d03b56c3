/** The port to the store of a take-over's state. Depends on nothing. */

/** The share of the usernames that Latchkey answers itself. */
export interface StoredLead {
  readonly percent: number;
  /** The value of `UPSTREAM_LEAD` when the percentage was set; another value replaces the percentage. */
  readonly variable: number;
}

export interface StoredBreaker {
  readonly state: string;
  readonly atMs: number;
  /** Why it is not closed. */
  readonly cause: string | undefined;
}

/** The old server's last verdict on a user's password, and what was learnt from it. */
export interface LearnedUser {
  /** `sub` of the old server's token: the user's `_id` as a string. */
  readonly subject: string;
  /** As spelt at the last login that the old server accepted. */
  readonly username: string;
  /** The keys of the names by which the old server has accepted the user, the latest first. */
  readonly names: readonly string[];
  /** Undefined if none was learnt, or if the old server has refused the password since. */
  readonly hash: string | undefined;
  /** When the old server was asked, in milliseconds since 1970. */
  readonly atMs: number;
  /** Whether the hash in the users' collection fits the password that was accepted last. */
  readonly ownHashCounts: boolean;
  /** The host of the old server. */
  readonly from: string;
  /** The last day (UTC, `2026-11-28`) on which the user logged in. */
  readonly day: string;
}

export interface DayCounts {
  /** UTC, `2026-11-28`. */
  readonly day: string;
  /** By name; names consist of letters and underscores. */
  readonly counts: Readonly<Record<string, number>>;
}

/** One kind of difference between the old server's answers and Latchkey's. */
export interface StoredDifference {
  readonly kind: string;
  readonly count: number;
  readonly firstAtMs: number;
  readonly lastAtMs: number;
  /** `_id`s of a few users whose answers differed. */
  readonly examples: readonly string[];
}

/** An addition to the counters. */
export interface TallyAddition extends DayCounts {
  readonly differences: readonly StoredDifference[];
}

export const namesMax = 8;
export const examplesMax = 5;

/**
 * Every method answers within the store's own deadline, or throws an `AuthError` with the code
 * `store_unavailable`; what it wrote survives the process and the machine once the promise has resolved.
 */
export interface TakeoverStore {
  lead(): Promise<StoredLead | undefined>;
  setLead(lead: StoredLead): Promise<void>;
  /** The last change of the circuit breaker of any process. */
  breaker(): Promise<StoredBreaker | undefined>;
  setBreaker(breaker: StoredBreaker): Promise<void>;
  /** The user of that name; of several, the one whom the old server was asked about last. */
  findByName(name: string): Promise<LearnedUser | undefined>;
  findBySubject(subject: string): Promise<LearnedUser | undefined>;
  /** The learnt users among these subjects. */
  findAll(subjects: readonly string[]): Promise<readonly LearnedUser[]>;
  /** Writes the user, unless the stored record is as new or newer. Resolves with whether it wrote. Atomic. */
  learn(user: LearnedUser): Promise<boolean>;
  /** Stores the day of a login. False if the user is not stored, or the stored day is not earlier. */
  see(subject: string, day: string): Promise<boolean>;
  /** Removes a user if the record is still that of `atMs`. Resolves with whether it removed. */
  forget(subject: string, atMs: number): Promise<boolean>;
  /** Removes all users and resolves with their number. */
  forgetAll(): Promise<number>;
  /** The number of stored users, and of those with a hash. */
  count(): Promise<{ readonly users: number; readonly hashes: number }>;
  /** All users, in no particular order. Its memory does not grow with their number. */
  list(): AsyncIterable<LearnedUser>;
  /** The hashes of about `size` users, drawn at random. */
  sampleHashes(size: number): Promise<readonly string[]>;
  add(addition: TallyAddition): Promise<void>;
  /** The counters from that day on, oldest first. */
  days(since: string): Promise<readonly DayCounts[]>;
  /** All kinds, the most frequent first. */
  differences(): Promise<readonly StoredDifference[]>;
}
