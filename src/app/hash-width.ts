/**
 * The limit of concurrent hashes: leaves one core to tokens while tokens are renewed. Depends on
 * auth's types.
 */
import type { Tokens } from "../auth/tokens.js";

export interface HashWidthOptions {
  /**
   * Maximum of concurrent hashes while tokens are renewed (`busy`), and while none are (`quiet`).
   */
  readonly busy: number;
  readonly quiet: number;
  /** Milliseconds of a clock that never goes back. */
  readonly now: () => number;
}

export interface HashWidth {
  /** The present maximum. */
  current(): number;
  /** The larger of both maxima. */
  readonly max: number;
  /** Wraps `tokens`, and counts each verified token as a renewal. */
  noticing(tokens: Tokens): Tokens;
}

/** After this long without a renewal the process counts as quiet. */
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
