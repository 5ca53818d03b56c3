/**
 * How many hashes may run at once: one core is left to tokens while any are renewed. Depends on
 * auth's types.
 */
import type { Tokens } from "../auth/tokens.js";

export interface HashWidthOptions {
  /** Most hashes at once while tokens are renewed, and while none are. */
  readonly busy: number;
  readonly quiet: number;
  /** Milliseconds that only go forward. */
  readonly now: () => number;
}

export interface HashWidth {
  /** Most hashes at once at present. */
  current(): number;
  /** The most that there may ever be. */
  readonly max: number;
  /** The tokens; each one that is verified is noticed as a renewal. */
  noticing(tokens: Tokens): Tokens;
}

/** Time without a renewal after which there are taken to be none. */
const quietMs = 1000;

export function createHashWidth({ busy, quiet, now }: HashWidthOptions): HashWidth {
  let renewedAtMs = -Infinity;
  return {
    max: Math.max(busy, quiet),
    current: () => (now() - renewedAtMs < quietMs ? busy : quiet),
    noticing: (tokens) => ({
      ...tokens,
      verify(token) {
        renewedAtMs = now();
        return tokens.verify(token);
      },
    }),
  };
}
