/** Folds the spellings of a username that the throttle counts as one. Depends on nothing. */

/**
 * Gives the same text for usernames that differ only in case, width or Unicode normal form. It may
 * give the same for a few others.
 */
export function foldUsername(username: string): string {
  return fold(fold(username));
}

function fold(text: string): string {
  // Upper case last, since it maps ß and SS, and ſ and S, to the same text. The second
  // normalization composes what a change of case has decomposed.
  return text.normalize("NFKC").toLowerCase().toUpperCase().normalize("NFKC");
}
