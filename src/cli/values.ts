import { InvalidArgumentError, Option } from 'commander'
import ms, { type StringValue } from 'ms'

/** Values of options, from text. What they throw is one line, which commander puts after the option's name and value. */

export const durationOption = (flags: string, description: string): Option =>
  new Option(flags, description).argParser(duration)

export const momentOption = (flags: string, description: string): Option =>
  new Option(flags, description).argParser((text) => momentOrAge(text, Date.now()))

/** At least 1, if nothing else is said. */
export const numberOption = (flags: string, description: string, min = 1): Option =>
  new Option(flags, description).argParser((text) => wholeNumber(text, min))

/**
 * `90s`, `15m`, `2h`, `7d`; a number alone is milliseconds.
 *
 * @returns milliseconds
 * @throws InvalidArgumentError
 */
export function duration(text: string): number {
  const value = ms(text as StringValue)
  if (value === undefined || !Number.isFinite(value) || value < 0)
    throw new InvalidArgumentError('not a duration such as 90s, 15m, 2h or 7d.')
  return Math.round(value)
}

/**
 * A date, or how long ago: `2026-01-31`, `2026-01-31T12:00:00Z`, `2h`.
 *
 * @throws InvalidArgumentError
 */
export function momentOrAge(text: string, now: number): Date {
  const date = /^\d{4}-\d{2}-\d{2}/.test(text) ? new Date(text) : new Date(now - duration(text))
  if (Number.isNaN(date.getTime())) throw new InvalidArgumentError('neither a date nor a duration such as 2h or 7d.')
  return date
}

/** @throws InvalidArgumentError */
export function wholeNumber(text: string, min: number): number {
  const value = Number(text)
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value) || value < min)
    throw new InvalidArgumentError(`not a whole number from ${min} up.`)
  return value
}

/** `0s`, `45s`, `3m`, `2h`, `7d`: about how long, for people. */
export function ageText(forMs: number): string {
  return forMs < 1_000 ? `${Math.round(Math.max(0, forMs) / 100) / 10}s` : ms(Math.round(forMs))
}
