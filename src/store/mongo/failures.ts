/**
 * Classifies errors of the driver: an outage, a lasting refusal, a fault of one document. Depends on mongodb
 * and the domain's errors.
 */
import {
  MongoBulkWriteError,
  MongoError,
  MongoNetworkError,
  MongoServerError,
  MongoServerSelectionError,
  MongoWriteConcernError,
} from "mongodb";
import { AuthError } from "../../auth/errors.js";
import { storeUnavailable } from "../unavailable.js";

export const duplicateKey = 11_000;

/** Codes of server errors that concern the document, not the server. */
const documentFaults: unknown[] = [66, 121, 10_334, duplicateKey, 17_280];

const validationFailed = 121;

/** Why MongoDB refuses a document; completes "the document …". */
export const ruleOf = (code: unknown) =>
  code === validationFailed
    ? "does not meet the validation rules of the collection"
    : `is refused by MongoDB, code ${String(code)}`;

export const isDocumentFaultCode = (code: unknown) => documentFaults.includes(code);

export const isDocumentFault = (error: unknown) =>
  error instanceof MongoServerError && isDocumentFaultCode(error.code);

export const isDuplicateKey = (error: unknown) =>
  error instanceof MongoServerError && error.code === duplicateKey;

/** Refusals that last until the set-up is changed, by the server's code. */
const refusals: Readonly<Record<number, string>> = {
  13: "MongoDB does not allow this to the user of MONGODB_URI; grant the role that latchkey doctor names",
  18: "MongoDB refuses the user name or the password of MONGODB_URI",
  20: "MongoDB refuses the command as the server is set up",
  59: "this MongoDB lacks a command that Latchkey needs; see the services in docs/operations.md",
  67: "MongoDB cannot make this index",
  85: "an index like this one, with other options, is there already",
  86: "another index of this name is there already",
  115: "this MongoDB lacks a command that Latchkey needs; see the services in docs/operations.md",
  303: "this MongoDB lacks a feature that Latchkey needs; see the services in docs/operations.md",
};

/**
 * Why MongoDB refuses; undefined if another attempt may succeed. The codes are those of
 * https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml
 */
export function refusalOf(error: unknown): string | undefined {
  for (const each of chainOf(error)) {
    if (each instanceof MongoServerError && typeof each.code === "number") {
      const refusal = refusals[each.code];
      if (refusal !== undefined) return refusal;
    }
  }
  return undefined;
}

/** The error, followed by its causes. */
function chainOf(error: unknown): Error[] {
  const chain: Error[] = [];
  for (let each = error; each instanceof Error && !chain.includes(each); each = each.cause) {
    chain.push(each);
  }
  return chain;
}

/**
 * Whether the driver has no servers left. It removes a server that reports another replica set or none, even
 * briefly while it starts or stops; once the last one is removed, it never looks for servers again.
 */
export function hasNoServers(error: unknown): boolean {
  return error instanceof MongoServerSelectionError && error.reason?.servers.size === 0;
}

/** Translates an error of the driver into an `AuthError`; returns any other error as it is. */
export function translate(error: unknown): unknown {
  if (error instanceof AuthError) return error;
  if (isDocumentFault(error)) {
    const message = `the document ${ruleOf((error as MongoServerError).code)}`;
    return new AuthError("internal", message, { cause: error, wroteNothing: true });
  }
  const refusal = refusalOf(error);
  if (refusal !== undefined) return storeUnavailable(refusal, error, true);
  if (hasNoServers(error)) {
    const message = "no server of MONGODB_URI belongs to the replica set that it names";
    return storeUnavailable(message, error);
  }
  if (error instanceof MongoServerSelectionError && /closed/.test(error.message)) {
    const message =
      "MongoDB closes the connection before it answers; tls of MONGODB_URI may not be as the server has it";
    return storeUnavailable(message, error);
  }
  const text =
    error instanceof Error
      ? chainOf(error)
          .map(({ message }) => message)
          .join(" ")
      : "";
  const fault = faults.find(([form]) => form.test(text));
  if (fault) return storeUnavailable(fault[1], error);
  if (isUnconfirmed(error)) {
    return storeUnavailable(
      "MongoDB has not confirmed that a majority holds what was written",
      error,
    );
  }
  const answer = chainOf(error).find(
    (each): each is MongoServerError => each instanceof MongoServerError && each.code !== undefined,
  );
  if (answer)
    return storeUnavailable(`MongoDB answers with the error ${String(answer.code)}`, error);
  // Name resolution and certificate files fail with errors of the system.
  const isSystem = error instanceof Error && "syscall" in error;
  return error instanceof MongoError || isSystem
    ? storeUnavailable("MongoDB does not answer", error)
    : error;
}

export const asAuthError = (error: unknown) => AuthError.from(translate(error));

/** Errors for which the driver has no code, recognised by their message. */
const faults: readonly (readonly [RegExp, string])[] = [
  [/wire version/i, "this MongoDB is of a version that Latchkey cannot use; 4.4 is the oldest one"],
  [
    /certificate|self.signed|SSL|TLS|altnames|EPROTO/i,
    "MongoDB and MONGODB_URI do not agree on TLS",
  ],
  [/optional module|not found\. Please install/i, "MONGODB_URI needs a package that is missing"],
];

/** Whether the primary has written, but not as many members as the write concern asks for. */
export function isUnconfirmed(error: unknown): boolean {
  if (error instanceof MongoBulkWriteError) {
    return error.result.getWriteConcernError() !== undefined;
  }
  return (
    error instanceof MongoWriteConcernError ||
    (error instanceof MongoServerError && error.code === writeConcernFailed)
  );
}

const writeConcernFailed = 64;

/** Codes of server errors that another attempt, perhaps on another member, may not meet. */
const passingCodes: unknown[] = [
  ...[6, 7, 89, 91, 112, 189, 262, 317, 358, 9001, 10_107, 11_600, 11_602, 13_435, 13_436],
  16_500,
];

/** Whether an immediate second attempt may succeed. */
export function isPassing(error: unknown): boolean {
  return chainOf(error).some(
    (each) =>
      each instanceof MongoNetworkError ||
      // The driver wraps an error with its message, and with its code if it has one: no code is a network error.
      (each instanceof MongoBulkWriteError && each.code === undefined) ||
      (each instanceof MongoServerError && passingCodes.includes(each.code)),
  );
}
