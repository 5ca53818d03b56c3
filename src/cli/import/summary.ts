/** Counts the results of an import. Depends on the domain's users. */
import type { ImportOutcome } from "../../auth/users.js";
import type { ImportedUser } from "./lines.js";
import { safe } from "../terminal.js";
import { FieldFault } from "../users/fields.js";

const unknownFieldsMax = 20;
const fieldNameCharactersMax = 64;

const conflicts = {
  exists: new FieldFault("_id", "and username belong to a user already"),
  id_taken: new FieldFault("_id", "belongs to another user already"),
  username_taken: new FieldFault("username", "belongs to another user already"),
} as const;

export interface ImportCounts {
  added: number;
  replaced: number;
  skipped: number;
  rejected: number;
}

export class ImportSummary {
  readonly counts: ImportCounts = { added: 0, replaced: 0, skipped: 0, rejected: 0 };
  readonly #dryRun: boolean;
  readonly #hashFamilies = new Map<string, number>();
  readonly #unknownFields = new Map<string, number>();
  readonly #notes = new Map<string, number>();
  /** Users of a failed batch for whom the store did not confirm the write. */
  #leftOver = 0;
  #withoutPassword = 0;
  #passwordKept = 0;
  #withColon = 0;

  constructor(dryRun: boolean) {
    this.#dryRun = dryRun;
  }

  /** Counts a user by the store's outcome. Returns the reason if the user was rejected. */
  count(
    { user, hashFamily, unknownFields, notes = [] }: ImportedUser,
    outcome: ImportOutcome | undefined,
  ): FieldFault | undefined {
    if (outcome === undefined) {
      this.#leftOver++;
      return undefined;
    }
    if (typeof outcome === "object") return new FieldFault(undefined, outcome.refused);
    if (outcome !== "added" && outcome !== "replaced" && outcome !== "skipped") {
      return conflicts[outcome];
    }
    this.counts[outcome]++;
    if (outcome === "skipped") return undefined;
    if (user.passwordHash === undefined && outcome === "replaced") this.#passwordKept++;
    else if (hashFamily === undefined) this.#withoutPassword++;
    else increment(this.#hashFamilies, hashFamily);
    if (user.username.includes(":")) this.#withColon++;
    for (const note of notes) increment(this.#notes, note);
    for (const field of unknownFields) {
      const name = field.slice(0, fieldNameCharactersMax).toWellFormed();
      const isListed = this.#unknownFields.has(name) || this.#unknownFields.size < unknownFieldsMax;
      increment(this.#unknownFields, isListed ? name : "(others)");
    }
    return undefined;
  }

  toJson(interrupted: boolean) {
    return {
      dryRun: this.#dryRun,
      interrupted,
      ...this.counts,
      leftOver: this.#leftOver,
      hashFamilies: Object.fromEntries(this.#hashFamilies),
      withoutPassword: this.#withoutPassword,
      passwordKept: this.#passwordKept,
      withColon: this.#withColon,
      ignoredFields: Object.fromEntries(this.#unknownFields),
      notes: Object.fromEntries(this.#notes),
    };
  }

  toText(interrupted: boolean): string {
    const { added, replaced, skipped, rejected } = this.counts;
    const list = (counts: ReadonlyMap<string, number>) =>
      Array.from(counts, ([name, count]) => `${safe(name)} ${count}`).join(", ");
    return [
      interrupted && "interrupted; so far:",
      `${added} added, ${replaced} replaced, ${skipped} skipped, ${rejected} rejected` +
        (this.#dryRun ? " (dry run, nothing was written)" : ""),
      this.#leftOver > 0 &&
        `left over when the store failed: ${this.#leftOver}; import again with --on-conflict skip`,
      this.#hashFamilies.size > 0 && `password hashes: ${list(this.#hashFamilies)}`,
      this.#withoutPassword > 0 &&
        `without a password, so that they cannot log in: ${this.#withoutPassword}`,
      this.#passwordKept > 0 &&
        `without a hash, so that the user keeps the password: ${this.#passwordKept}`,
      this.#withColon > 0 &&
        `with a colon in the name, so that they cannot use HTTP Basic: ${this.#withColon}`,
      ...Array.from(this.#notes, ([note, users]) => `${users} have ${note}`),
      this.#unknownFields.size > 0 && `fields ignored: ${list(this.#unknownFields)}`,
    ]
      .filter((line) => line !== false)
      .join("\n");
  }
}

function increment(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1);
}
