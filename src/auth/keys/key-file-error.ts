/** The error of a faulty key file. Depends on nothing. */

/**
 * Messages say `FILE`, since only the caller knows the file's name. For operators: exit code 78.
 */
export class KeyFileError extends Error {
  override readonly name = "KeyFileError";
  constructor(readonly faults: readonly string[]) {
    super(faults.join("; "));
  }
}

export function fail(fault: string): never {
  throw new KeyFileError([fault]);
}

/** The result of `parse`, or undefined if it throws. */
export function attempt<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch {
    return undefined;
  }
}
