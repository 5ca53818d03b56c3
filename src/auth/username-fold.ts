/** Which spellings of a username the throttle counts as one. Depends on nothing. */

/**
 * The same for all that differ in case, width or Unicode normal form, and with `ignoreAccents` in
 * accents or in characters that collations skip. It may be the same for a few that differ otherwise.
 */
export function foldUsername(
  username: string,
  { ignoreAccents }: { readonly ignoreAccents: boolean },
): string {
  const text = ignoreAccents
    ? username.normalize("NFKD").replace(/\p{M}|\p{Default_Ignorable_Code_Point}|\p{Cc}/gu, "")
    : username;
  // Upper case last: it is what ß and ſ have in common with SS and S. Composing again at the end
  // settles what a change of case has taken apart.
  return fold(fold(text));
}

function fold(text: string): string {
  return text.normalize("NFKC").toLowerCase().toUpperCase().normalize("NFKC");
}
