/**
 * Refuses the passwords that a guesser tries first: common ones, the username, one short text repeated
 * (NIST SP 800-63B-4, section 3.1.1.2). Depends on @zxcvbn-ts/language-common.
 */
import { dictionary } from "@zxcvbn-ts/language-common";

/** A password that repeats a text of at most this many characters is refused. */
const repeatedCodePointsMax = 4;

/** 49,233 common passwords, in lower case. */
const common: ReadonlySet<string> = new Set(dictionary["passwords-common"]);

/** Why the password is too easy to guess; completes "the password …". Undefined if it is not. */
export function findGuess(password: string, username: string): string | undefined {
  const lower = password.toLowerCase();
  const unit = repeatedUnit(lower);
  if (unit === username.toLowerCase()) return "is the username";
  if (common.has(lower) || common.has(unit)) return "is one of the most common ones";
  if (unit !== lower && Array.from(unit).length <= repeatedCodePointsMax) {
    return "is a short text repeated";
  }
  return undefined;
}

/** The shortest text whose repetition is `text`. */
function repeatedUnit(text: string): string {
  return text.slice(0, (text + text).indexOf(text, 1));
}
