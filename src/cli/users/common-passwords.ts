/**
 * The passwords that a guesser tries first: common ones, the username, and one short text repeated
 * (NIST SP 800-63B-4, section 3.1.1.2). Depends on @zxcvbn-ts/language-common.
 */
import { dictionary } from "@zxcvbn-ts/language-common";

/** A repeated text of so many characters or fewer is refused, whatever it is. */
const repeatedCodePointsMax = 4;

/** In lower case, as the list of 49,233 is. */
const common: ReadonlySet<string> = new Set(dictionary["passwords-common"]);

/** Why the password is too easy to guess, to complete "the password …"; undefined if it is not. */
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

/** The shortest text that makes up all of `text` when repeated. */
function repeatedUnit(text: string): string {
  return text.slice(0, (text + text).indexOf(text, 1));
}
