import ms from 'ms'

/** `3 h`, `12 min`: for people, and rounded. */
export function durationText(durationMs: number): string {
  return ms(Math.max(0, Math.round(durationMs)), { long: true })
}
