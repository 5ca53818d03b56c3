/**
 * Decides when two usernames are the same. Depends on the ICU of the runtime (`Intl`). MongoDB has
 * ICU too: `ignore-case` is its collation of strength 2, and `ignore-case-and-accents` the one of
 * strength 1, which compares as MySQL's `utf8mb4_0900_ai_ci` does.
 */

export const usernameMatches = ["exact", "ignore-case", "ignore-case-and-accents"] as const;
export type UsernameMatch = (typeof usernameMatches)[number];

/** Maps two usernames to the same text if and only if they are the same. */
export type UsernameKey = (username: string) => string;

const sensitivities = { "ignore-case": "accent", "ignore-case-and-accents": "base" } as const;

const usernameKeys: Readonly<Record<UsernameMatch, UsernameKey>> = {
  exact: (username) => username,
  "ignore-case": collationKey("ignore-case"),
  "ignore-case-and-accents": collationKey("ignore-case-and-accents"),
};

export function usernameKeyOf(match: UsernameMatch): UsernameKey {
  return usernameKeys[match];
}

const cacheCharactersMax = 10_000;

/**
 * `Intl` compares but gives no keys, so each character is replaced by the plainest one that it
 * equals.
 */
function collationKey(match: keyof typeof sensitivities): UsernameKey {
  // Made on first use: it takes 10 ms, and most usernames need none.
  let collator: Intl.Collator | undefined;
  const compare = (a: string, b: string) => {
    collator ??= new Intl.Collator("en", { sensitivity: sensitivities[match] });
    return collator.compare(a, b);
  };
  const cache = new Map<string, string>();
  const plain = (character: string): string => {
    const cached = cache.get(character);
    if (cached !== undefined) return cached;
    const found = plainer(character).find((text) => compare(text, character) === 0) ?? character;
    if (cache.size >= cacheCharactersMax) cache.clear();
    cache.set(character, found);
    return found;
  };
  return (username) =>
    /^[ -~]*$/.test(username)
      ? username.toLowerCase()
      : Array.from(username.normalize("NFC"), plain).join("");
}

/** The character without its width, form, case and accents: candidates, the plainest first. */
function plainer(character: string): string[] {
  const lower = character.normalize("NFKD").toLowerCase();
  const folded = lower.toUpperCase().toLowerCase().normalize("NFKD");
  const forms = [folded, lower].flatMap((form) => {
    const bare = form.replace(/\p{M}/gu, "");
    return [bare, form].flatMap((text) => [Array.from(text, similar).join(""), text]);
  });
  return ["", ...digitOf(character), ...forms];
}

const digitOf = (character: string) => (/\p{N}/u.test(character) ? Array.from("0123456789") : []);

function similar(letter: string): string {
  const kana = letter.replace(/[ァ-ヶ]/, (k) => String.fromCharCode(k.charCodeAt(0) - 0x60));
  return lookalikes[kana] ?? kana;
}

/**
 * Letters that a collation treats as another letter's form though Unicode does not decompose them.
 */
const lookalikes = Object.fromEntries(
  [
    ..."æae œoe øo łl đd ðd ħh ŧt ґг ςσ ךכ םמ ןנ ףפ ץצ ɨi ʉu ɵo ƀb ɗd".split(" "),
    ..."ぁあ ぃい ぅう ぇえ ぉお っつ ゃや ゅゆ ょよ ゎわ ゕか ゖけ".split(" "),
  ].map((pair) => [pair.slice(0, 1), pair.slice(1)]),
);
