/** In milliseconds. */
export interface PauseMs {
  readonly least: number
  readonly most: number
}

/**
 * A pause after failures in a row: it doubles with each, and is jittered, from half of it to one and a half, so that
 * those who failed together do not try again together.
 *
 * @param before - failures before the last one
 */
export function growingPauseMs({ least, most }: PauseMs, before: number, random: () => number): number {
  return Math.min(least * 2 ** before, most) * (0.5 + random())
}
