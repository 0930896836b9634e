/**
 * Durations as text: `'90s'`, `'15m'`, `'2h'`, `'7d'`. The one place that reads them, for options and for the command.
 */

/** Milliseconds of each unit. A year has 365.25 days. No month: `1M` and `1m` would differ by a letter's case. */
const units = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
  y: 31_557_600_000,
} as const

/** How long something takes: milliseconds, or a number with a unit: `'250ms'`, `'90s'`, `'15m'`, `'2h'`, `'7d'`. */
export type Duration = number | `${number}${'ms' | 's' | 'm' | 'h' | 'd' | 'w' | 'y'}`

/** For messages. */
export const durationExamples = "'90s', '15m', '2h' or '7d'"

/**
 * A number from 0 up and one of the units ms, s, m, h, d, w and y, as they are written here: `6M` is nothing, since it
 * may be meant as months, and neither is a number alone but 0, since its unit is anybody's guess.
 *
 * @returns milliseconds, perhaps with a fraction; undefined for any other text
 */
export function parseDuration(text: string): number | undefined {
  if (text === '0') return 0
  const [, number, unit] = /^(\d{1,15}(?:\.\d{1,15})?)(ms|[smhdwy])$/.exec(text) ?? []
  if (number === undefined) return undefined
  // Floating point would make 3960000.0000000005 of '1.1h'.
  return Math.round(Number(number) * units[unit as keyof typeof units] * 1_000) / 1_000
}

/**
 * The milliseconds of a duration; those of a text are whole, rounded up. What is no duration stays as it is, for the
 * caller to refuse.
 */
export function inMilliseconds(value: unknown): unknown {
  if (typeof value !== 'string') return value
  const ms = parseDuration(value)
  return ms === undefined ? value : Math.ceil(ms)
}

/** The text of a bound, for messages: in the largest unit that fits (weeks aside), cut after one digit: `'24.8d'`. */
export function durationText(ms: number): string {
  const [unit, size] = Object.entries(units).findLast(([name, one]) => name !== 'w' && ms >= one) ?? ['ms', 1]
  return `'${Math.floor((ms / size) * 10) / 10}${unit}'`
}
