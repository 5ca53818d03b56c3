/** The port to the store that keeps what a take-over learns. Depends on nothing. */

/** Which share of the usernames Latchkey answers itself. */
export interface StoredLead {
  readonly percent: number;
  /** `UPSTREAM_LEAD` when the percentage was set: it holds until that changes. */
  readonly variable: number;
}

export interface StoredBreaker {
  readonly state: string;
  readonly atMs: number;
}

/** The old server's last word on a user's password, and what was learnt of it. */
export interface LearnedUser {
  /** `sub` of the old server's token: the user's `_id` as a string. */
  readonly subject: string;
  /** As written at the last login that the old server accepted. */
  readonly username: string;
  /** The keys of the names by which the old server knows the user, the latest first. */
  readonly names: readonly string[];
  /** Undefined where none was learnt, or the old server has refused the password since. */
  readonly hash: string | undefined;
  /** When the old server was asked, in milliseconds since the epoch. */
  readonly atMs: number;
  /** Whether the hash in the users collection fits the password that was accepted last. */
  readonly ownHashCounts: boolean;
  /** The host of the old server. */
  readonly from: string;
  /** The last day (UTC, `2026-11-28`) on which the user logged in. */
  readonly day: string;
}

export interface DayCounts {
  /** UTC, `2026-11-28`. */
  readonly day: string;
  /** By names of letters and underscores. */
  readonly counts: Readonly<Record<string, number>>;
}

/** One kind of difference between the old server's answers and ours. */
export interface StoredDifference {
  readonly kind: string;
  readonly count: number;
  readonly firstAtMs: number;
  readonly lastAtMs: number;
  /** `_id`s of a few users whose answers differed. */
  readonly examples: readonly string[];
}

/** What is added to the counters at once. */
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
  /** The last change of a circuit breaker, whichever process told it. */
  breaker(): Promise<StoredBreaker | undefined>;
  setBreaker(breaker: StoredBreaker): Promise<void>;
  /** Of several users who were known by that name, the one last heard of. */
  findByName(name: string): Promise<LearnedUser | undefined>;
  findBySubject(subject: string): Promise<LearnedUser | undefined>;
  /** Those of the subjects of whom something is kept. */
  findAll(subjects: readonly string[]): Promise<readonly LearnedUser[]>;
  /** Writes the user, unless what is stored is as new. True if it wrote. Atomic. */
  learn(user: LearnedUser): Promise<boolean>;
  /** Notes the day of a login. False where nothing is kept of that user, or the day is noted already. */
  see(subject: string, day: string): Promise<boolean>;
  /** Removes what is kept of a user, only while it is as old as `atMs`. True if it removed. */
  forget(subject: string, atMs: number): Promise<boolean>;
  /** Removes what is kept of all users, and returns of how many. */
  forgetAll(): Promise<number>;
  /** Of how many users something is kept, and of how many a hash. */
  count(): Promise<{ readonly users: number; readonly hashes: number }>;
  /** All users, in no particular order, in memory that does not grow with their number. */
  list(): AsyncIterable<LearnedUser>;
  /** The hashes of about so many users, drawn at random. */
  sampleHashes(size: number): Promise<readonly string[]>;
  add(addition: TallyAddition): Promise<void>;
  /** The counters from that day on, oldest first. */
  days(since: string): Promise<readonly DayCounts[]>;
  /** All kinds, the most frequent first. */
  differences(): Promise<readonly StoredDifference[]>;
}
