/** What is wrong with a key file. Depends on nothing. */

/** The caller knows the file's name; `FILE` stands for it. For the operator: exit code 78. */
export class KeyFileError extends Error {
  override readonly name = "KeyFileError";
  constructor(readonly faults: readonly string[]) {
    super(faults.join("; "));
  }
}

export function fail(fault: string): never {
  throw new KeyFileError([fault]);
}

/** What `parse` gives, or undefined where the bytes are not of its form. */
export function attempt<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch {
    return undefined;
  }
}
