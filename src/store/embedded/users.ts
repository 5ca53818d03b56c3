/** The users in the embedded store. Depends on the databases and the domain's port. */
import { randomBytes } from "node:crypto";
import { userIdsOfSubject } from "../../auth/users.js";
import type {
  Account,
  ImportConflict,
  ImportOutcome,
  User,
  UserChange,
  UserId,
  UserRecord,
  UserStore,
  UserToImport,
} from "../../auth/users.js";
import { planImport } from "../import-plan.js";
import type { StoreFile } from "./databases.js";

const listPageUsers = 256;

export class EmbeddedUsers implements UserStore {
  readonly #file: StoreFile;

  constructor(file: StoreFile) {
    this.#file = file;
  }

  findByUsername(username: string): Promise<User | undefined> {
    return this.#file.read(() => this.#file.userByUsername(username));
  }

  findBySubject(subject: string): Promise<Account | undefined> {
    return this.#file.read(() => {
      let user: User | undefined;
      for (const id of userIdsOfSubject(subject)) {
        const found = this.#file.userById(id);
        if (found && user) return undefined;
        user ??= found;
      }
      if (user === undefined) return undefined;
      const { id, username, disabled, roles, tokensValidAfter } = user;
      return { id, username, disabled, roles, tokensValidAfter };
    });
  }

  async add(user: User): Promise<"added" | "id_taken" | "username_taken"> {
    return this.#file.write(() => {
      if (this.#file.userById(user.id)) return "id_taken";
      if (this.#file.userByUsername(user.username)) return "username_taken";
      this.#file.putUser(user);
      return "added";
    });
  }

  import(
    users: readonly UserToImport[],
    options: { onConflict: ImportConflict; replacedAt: Date; dryRun: boolean },
  ): Promise<ImportOutcome[]> {
    const plan = () => {
      const stored = users.flatMap((user) => [
        this.#file.userById(user.id) ?? [],
        this.#file.userByUsername(user.username) ?? [],
      ]);
      return planImport(users, stored.flat(), options, this.#file.usernameKey);
    };
    if (options.dryRun) return this.#file.read(() => plan().outcomes);
    return this.#file.write(() => {
      const { outcomes, writes } = plan();
      for (const { user } of writes) {
        const previous = this.#file.userById(user.id);
        // The new name may be spelt differently and then has another key.
        if (previous) this.#file.removeUser(previous);
        this.#file.putUser(user);
      }
      return outcomes;
    });
  }

  update(id: UserId, change: UserChange): Promise<boolean> {
    return this.#change(id, (user) => this.#file.putUser({ ...user, ...change }));
  }

  async replacePasswordHash(
    id: UserId,
    oldHash: string | undefined,
    newHash: string,
  ): Promise<boolean> {
    return this.#file.write(() => {
      const user = this.#file.userById(id);
      if (user === undefined || user.passwordHash !== oldHash) return false;
      this.#file.putUser({ ...user, passwordHash: newHash });
      return true;
    });
  }

  remove(id: UserId): Promise<boolean> {
    return this.#change(id, (user) => this.#file.removeUser(user));
  }

  existing(ids: readonly UserId[]): Promise<readonly UserId[]> {
    return this.#file.read(() => ids.filter((id) => this.#file.userById(id)));
  }

  sampleHashes(size: number): Promise<readonly string[]> {
    return this.#file.read(() =>
      Array.from({ length: size }).flatMap(() => {
        // The keys are digests, so a random key selects a random user.
        const [key] = this.#file.users.getKeys({ start: randomBytes(32), limit: 1 });
        return (key && this.#file.user(key)?.passwordHash) ?? [];
      }),
    );
  }

  async *records(): AsyncIterable<UserRecord> {
    for await (const user of this.list()) yield { user, id: user.id.value, notes: [] };
  }

  async *list(): AsyncIterable<User> {
    // One read per page: a long read would keep LMDB from reusing pages freed meanwhile.
    let start = Buffer.alloc(1);
    for (;;) {
      const page = await this.#file.read(() =>
        [...this.#file.users.getKeys({ start, limit: listPageUsers })].map((key) => ({
          key: Buffer.from(key),
          user: this.#file.user(key),
        })),
      );
      for (const { user } of page) if (user) yield user;
      const last = page.at(-1);
      if (last === undefined) return;
      start = Buffer.concat([last.key, Buffer.alloc(1)]);
    }
  }

  #change(id: UserId, change: (user: User) => void): Promise<boolean> {
    return this.#file.write(() => {
      const user = this.#file.userById(id);
      if (user === undefined) return false;
      change(user);
      return true;
    });
  }
}
