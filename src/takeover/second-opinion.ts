/** Asks the old server about logins that Latchkey answers. Depends on auth and its neighbours. */
import type { PasswordCredentials } from "../auth/credentials.js";
import { acceptedAlone, type OwnVerdict, type SecondOpinion } from "../auth/gate/gate.js";
import type { User } from "../auth/users.js";
import { strangerOf, type KnownUsers } from "./known-users.js";
import type { Learner } from "./learner.js";
import type { Questions, Word } from "./questions.js";
import type { Tally } from "./tally.js";

export interface OldServersOpinionOptions {
  readonly users: KnownUsers;
  readonly questions: Questions;
  readonly learner: Learner;
  readonly tally: Tally;
}

export class OldServersOpinion implements SecondOpinion {
  readonly #options: OldServersOpinionOptions;

  constructor(options: OldServersOpinionOptions) {
    this.#options = options;
  }

  async decide(credentials: PasswordCredentials, own: OwnVerdict): Promise<User | undefined> {
    const { users, learner, tally } = this.#options;
    const record = users.recordOf(own.user);
    const accepted = acceptedAlone(own);
    if (accepted && learner.isFresh(record)) {
      learner.seen(record);
      tally.count("by_own");
      return accepted;
    }
    if (accepted === undefined && !own.mayAsk) return undefined;
    const word = await this.#ask(credentials, own, accepted);
    if (word === undefined || word.says === "unaskable") {
      if (accepted) tally.count("by_own");
      return accepted;
    }
    if (word.says === "no") {
      if (accepted) await learner.hearNo(accepted, record, word.atMs);
      return undefined;
    }
    return this.#accept(credentials, own, word);
  }

  /** Undefined if there is no answer and Latchkey itself accepts the password: then that counts. */
  async #ask(
    credentials: PasswordCredentials,
    { surface, network, elapsedMs, countLate }: OwnVerdict,
    accepted: User | undefined,
  ): Promise<Word | undefined> {
    const via = surface === "rest_login" ? "login" : "token";
    const address = network.replace(/\/64$/, "");
    // A login that Latchkey accepts is not counted as a failure because of a late no.
    const onLateNo = accepted ? () => undefined : countLate;
    try {
      return await this.#options.questions.ask({ credentials, via, address, elapsedMs, onLateNo });
    } catch (error) {
      if (accepted === undefined) throw error;
      return undefined;
    }
  }

  async #accept(
    { username, password }: PasswordCredentials,
    { user, matches }: OwnVerdict,
    { subject, atMs }: Extract<Word, { says: "yes" }>,
  ): Promise<User | undefined> {
    const { users, learner, tally } = this.#options;
    const account =
      user?.id.value === subject
        ? user
        : ((await users.findBySubject(subject)) ?? strangerOf({ subject, username }));
    // A user who is disabled here stays disabled, whatever the old server says.
    if (account.disabled) return undefined;
    const record = users.recordOf(user);
    await learner.hearYes({ subject, username, password, atMs, user, record, matches });
    tally.count("by_question");
    // Without the hash, which the password may not fit, so that it is not rehashed.
    return { ...account, passwordHash: undefined };
  }
}
