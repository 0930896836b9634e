import { InvalidArgumentError, Option } from 'commander'
import { durationExamples, parseDuration } from '../duration.js'

/**
 * Values of options, from text. What they throw is one line, which commander puts after the option's name and value.
 */

export const durationOption = (flags: string, description: string): Option =>
  new Option(flags, description).argParser(duration)

/** A date, or an age: so long ago; unless only a date makes sense. */
export const momentOption = (
  flags: string,
  description: string,
  form: 'date or age' | 'date' = 'date or age',
): Option =>
  new Option(flags, description).argParser((text) => (form === 'date' ? date(text) : momentOrAge(text, Date.now())))

export const choiceOption = (flags: string, description: string, choices: readonly string[]): Option =>
  new Option(flags, description).choices(choices)

const examples = durationExamples.replaceAll("'", '')

/** At least 1, if nothing else is said. */
export const numberOption = (flags: string, description: string, min = 1, max = Number.MAX_SAFE_INTEGER): Option =>
  new Option(flags, description).argParser((text) => wholeNumber(text, min, max))

/** A value, as JSON. */
export const jsonOption = (flags: string, description: string): Option => new Option(flags, description).argParser(json)

/** May be given several times: all that was given, in order. */
export const listOption = (flags: string, description: string): Option =>
  new Option(flags, `${description}; may be given several times`).argParser((text, before: string[] = []) => [
    ...before,
    text,
  ])

/** What is longer is a slip, and leads out of what a Date or a timestamp can be. */
const longestMs = parseDuration('100y') ?? Number.POSITIVE_INFINITY

/**
 * `90s`, `15m`, `2h`, `7d`. At most a hundred years.
 *
 * @returns milliseconds
 * @throws InvalidArgumentError
 */
function duration(text: string): number {
  const value = parseDuration(text)
  if (value === undefined && /^\d+$/.test(text)) {
    throw new InvalidArgumentError(`not a duration such as ${examples}: it has no unit.`)
  }
  if (value === undefined) throw new InvalidArgumentError(`not a duration such as ${examples}.`)
  if (value > longestMs) throw new InvalidArgumentError('longer than a hundred years.')
  return Math.round(value)
}

/**
 * A date, or how long ago: `2026-01-31`, `2026-01-31T12:00:00Z`, `2h`.
 *
 * @throws InvalidArgumentError
 */
function momentOrAge(text: string, now: number): Date {
  return isDate(text) ? date(text) : new Date(now - duration(text))
}

/** @throws InvalidArgumentError */
function date(text: string): Date {
  const value = new Date(text.replace(' ', 'T'))
  // A Date reads more than this, and passes over what it does not understand.
  const isWhole = /^\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:\d\d)?)?$/.test(text)
  if (isWhole && isInCalendar(text) && !Number.isNaN(value.getTime())) return value
  throw new InvalidArgumentError('not a date such as 2026-01-31 or 2026-01-31T12:00:00Z.')
}

function isDate(text: string): boolean {
  return /^\d{4}-\d{2}-\d{2}/.test(text)
}

/** A Date makes the third of March of 2026-02-31. */
function isInCalendar(text: string): boolean {
  const day = new Date(`${text.slice(0, 10)}T00:00:00Z`)
  return !Number.isNaN(day.getTime()) && day.toISOString().startsWith(text.slice(0, 10))
}

/** @throws InvalidArgumentError */
function json(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new InvalidArgumentError(`not JSON; quote it for the shell, as '{"to":"a@example.org"}'.`)
  }
}

/** @throws InvalidArgumentError */
function wholeNumber(text: string, min: number, max: number): number {
  const value = Number(text)
  if (!/^-?\d+$/.test(text) || !Number.isSafeInteger(value) || value < min || value > max) {
    const range = max === Number.MAX_SAFE_INTEGER ? `from ${min} up` : `from ${min} to ${max}`
    throw new InvalidArgumentError(`not a whole number ${range}.`)
  }
  return value
}
