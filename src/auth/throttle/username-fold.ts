/** Which spellings of a username the throttle counts as one. Depends on nothing. */

/**
 * The same for all that differ in case, width or Unicode normal form alone. It may be the same for a
 * few that differ otherwise.
 */
export function foldUsername(username: string): string {
  return fold(fold(username));
}

function fold(text: string): string {
  // Upper case last: it is what ß and ſ have in common with SS and S. Composing again settles what a
  // change of case has taken apart.
  return text.normalize("NFKC").toLowerCase().toUpperCase().normalize("NFKC");
}
