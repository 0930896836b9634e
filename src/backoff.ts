/** The bounds of a pause, in milliseconds, before it is jittered. */
export interface PauseMs {
  readonly least: number
  readonly most: number
}

/**
 * The pause after failures in a row, in milliseconds: `least` after the first, twice as long after each further one, up
 * to `most`; and then jittered, from half of it to one and a half, so that those who failed together do not try again
 * together. So it may be half as long as `least`, and one and a half times as long as `most`.
 *
 * @param before - failures before the last one
 * @param random - from 0 up to, not including, 1
 */
export function backoff({ least, most }: PauseMs, before: number, random: () => number): number {
  return jitter(Math.min(least * 2 ** before, most), 0.5, 1.5, random)
}

/**
 * A time between `from` and `to` times `ms`, each as likely as the other: for what many processes do now and then, and
 * should not do all at once.
 *
 * @param random - from 0 up to, not including, 1
 */
export function jitter(ms: number, from: number, to: number, random: () => number): number {
  return ms * (from + (to - from) * random())
}
