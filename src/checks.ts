/**
 * Checks of what a caller hands in. Each returns the value with its type known, or throws a `BugleError` whose
 * message names the thing, the rule and the value: `concurrency must be a whole number from 1 up; got 0`.
 */
import { types } from 'node:util'
import { durationExamples, durationText, inMilliseconds, parseDuration } from './duration.js'
import { BugleError, describe } from './errors.js'
import { suggestion, wordFor } from './suggest.js'

/** Node fires a timer of more than 2^31 - 1 ms at once. */
export const longestTimerMs = 2_147_483_647

/**
 * A whole number within bounds, both included.
 *
 * @param bounds - `min` and `max`; no `max` means `Number.MAX_SAFE_INTEGER`
 * @throws BugleError `INVALID_OPTION`
 */
export function wholeNumber(name: string, value: unknown, bounds: { min: number; max?: number }): number {
  const { min, max = Number.MAX_SAFE_INTEGER } = bounds
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= min && value <= max) return value
  const range = max === Number.MAX_SAFE_INTEGER ? `from ${min} up` : `from ${min} to ${max}`
  throw invalidOption(name, `must be a whole number ${range}`, value)
}

/**
 * A duration from 0 up: milliseconds, or a text such as '15m'.
 *
 * A fraction is rounded up, never down: a wait of 0.4 ms must not end at once. There is no upper bound: a retention of
 * 30 days is a duration too, but longer than a Node timer can be (2,147,483,647 ms, beyond which it fires at once), so
 * the caller must bound it before it sets a timer.
 *
 * @param rules - `allowInfinity`: whether `Infinity` ("no limit") is a value
 * @returns whole milliseconds, or `Infinity` where allowed
 * @throws BugleError `INVALID_OPTION`
 */
export function milliseconds(name: string, value: unknown, rules: { allowInfinity?: boolean } = {}): number {
  const { allowInfinity = false } = rules
  const ms = inMilliseconds(value)
  if (typeof ms === 'number' && ms >= 0) {
    if (ms <= Number.MAX_SAFE_INTEGER) return Math.ceil(ms)
    if (ms === Number.POSITIVE_INFINITY && allowInfinity) return ms
  }
  if (isDuration(value)) throw invalidOption(name, `must be at most ${durationText(Number.MAX_SAFE_INTEGER)}`, value)
  const rule = `must be milliseconds from 0 up${allowInfinity ? ', or Infinity' : ''}`
  throw invalidOption(name, rule + orText(value), value)
}

/**
 * A duration within bounds, both included: whole milliseconds, or a text such as '15m'.
 *
 * @param bounds - in milliseconds
 * @throws BugleError `INVALID_OPTION`
 */
export function durationWithin(name: string, value: unknown, bounds: { min: number; max: number }): number {
  const ms = inMilliseconds(value)
  const { min, max } = bounds
  if (typeof ms === 'number' && Number.isSafeInteger(ms) && ms >= min && ms <= max) return ms
  if (isDuration(value)) throw invalidOption(name, `must be from ${durationText(min)} to ${durationText(max)}`, value)
  throw invalidOption(name, `must be a whole number from ${min} to ${max}, in milliseconds${orText(value)}`, value)
}

function isDuration(value: unknown): boolean {
  return typeof value === 'string' && parseDuration(value) !== undefined
}

/** For whoever has given a text: which ones there are. */
function orText(value: unknown): string {
  return typeof value === 'string' ? `, or a duration such as ${durationExamples}` : ''
}

/**
 * A duration that fits on one of Node's timers.
 *
 * @throws BugleError `INVALID_OPTION`
 */
export function timerMs(name: string, value: unknown): number {
  const ms = milliseconds(name, value)
  if (ms <= longestTimerMs) return ms
  throw new BugleError(
    'INVALID_OPTION',
    `${name} must be at most ${longestTimerMs} ms (24 days); got ${describe(value)}`,
  )
}

/**
 * A run's `timeoutMs`: on one of Node's timers, and in an int column.
 *
 * @throws BugleError `INVALID_OPTION`
 */
export function runTimeMs(value: unknown): number {
  return durationWithin('timeoutMs', value, { min: 1, max: longestTimerMs })
}

/** A hundred years: what is due later than that is a slip, and timestamps end somewhere. */
const longestDelayMs = 3_155_760_000_000

/**
 * How long from now, at most a hundred years; a fraction of a millisecond is rounded up.
 *
 * @throws BugleError `INVALID_OPTION`
 */
export function delay(name: string, value: unknown): number {
  const ms = milliseconds(name, value)
  if (ms <= longestDelayMs) return ms
  throw invalidOption(name, 'must be at most a hundred years', value)
}

/**
 * A point in time: a valid `Date`, at most a hundred years ahead.
 *
 * @throws BugleError `INVALID_OPTION`
 */
export function moment(name: string, value: unknown, now = Date.now()): Date {
  // A date of another realm (jest, vm) is no instance of our class.
  if (types.isDate(value) && value.getTime() <= now + longestDelayMs) return value
  throw invalidOption(name, 'must be a valid Date, at most a hundred years ahead', value)
}

/**
 * A short text that an index can hold: 1 to `maxChars` characters (code points) without NUL or lone surrogates.
 *
 * @throws BugleError `INVALID_OPTION`
 */
export function label(name: string, value: unknown, maxChars: number): string {
  if (typeof value === 'string' && isStorable(value) && value.length >= 1 && codePoints(value) <= maxChars) return value
  throw invalidOption(name, `must be a string of 1 to ${maxChars} characters without NUL or lone surrogates`, value)
}

/**
 * Names of flags, each once.
 *
 * @throws BugleError `INVALID_OPTION`
 */
export function flagNames(name: string, value: unknown): readonly string[] {
  if (!Array.isArray(value) || value.length > 100) {
    throw new BugleError('INVALID_OPTION', `${name} must be an array of at most 100 flags; got ${describe(value)}`)
  }
  return [...new Set(Array.from(value, (flag, index) => label(`${name}[${index}]`, flag, 128)))]
}

/**
 * The answer of a callback that must not be asynchronous.
 *
 * @throws BugleError `INVALID_OPTION` for a promise
 */
export function synchronous<T>(name: string, answer: T): T {
  if (!types.isPromise(answer)) return answer
  // Else its rejection would end the process.
  answer.catch(() => {})
  throw new BugleError('INVALID_OPTION', `${name} must be synchronous; it answered with a promise`)
}

/** @throws BugleError `INVALID_OPTION` */
export function signalOf(value: unknown): AbortSignal | undefined {
  if (value === undefined || value instanceof AbortSignal) return value
  throw invalidOption('signal', 'must be an AbortSignal', value)
}

/** @throws BugleError `INVALID_OPTION` */
export function functionOf<T>(name: string, value: unknown): T {
  if (typeof value === 'function') return value as T
  throw invalidOption(name, 'must be a function', value)
}

/**
 * One of a fixed set of values.
 *
 * @throws BugleError `INVALID_OPTION`, with the set in the message
 */
export function oneOf<const T extends string | number | boolean | null>(
  name: string,
  value: unknown,
  literals: readonly T[],
): T {
  const found = literals.find((literal) => literal === value)
  if (found !== undefined) return found
  const shown = literals.map((literal) => JSON.stringify(literal))
  const last = shown.pop()
  const rule = shown.length === 0 ? `must be ${last}` : `must be ${shown.join(', ')} or ${last}`
  throw invalidOption(name, rule, value)
}

/**
 * Refuse an options object that holds a name nobody reads: mostly a misspelling that would silently do nothing, or the
 * word of another library.
 *
 * @param what - the object's name in messages: `consume options`
 * @param keys - every name that is read; a known name whose value is undefined is fine
 * @param elsewhere - names that other calls read, by call
 * @throws BugleError `INVALID_OPTION`, with the name that was probably meant, if there is one
 */
export function knownKeys(
  what: string,
  object: unknown,
  keys: readonly string[],
  elsewhere: Readonly<Record<string, readonly string[]>> = {},
): void {
  // An instance without properties of its own, a URL say, is no options object. Never shown: a URL holds a password.
  if (!isPlainObject(object) && !(hasOwnKeys(object) && !Array.isArray(object))) {
    throw new BugleError('INVALID_OPTION', `${what} must be an object of options; got ${kindOf(object)}`)
  }
  for (const key of Object.keys(object)) {
    if (keys.includes(key)) continue
    const hint = hintFor(key, keys, elsewhere)
    throw new BugleError('INVALID_OPTION', `${what}: there is no option ${describe(key)}; ${hint}`)
  }
}

/** A copy without options that are undefined, which are as good as left out. What is no plain object stays itself. */
export function withoutUndefined<T extends object>(options: T): { [Name in keyof T]: Exclude<T[Name], undefined> } {
  type Given = { [Name in keyof T]: Exclude<T[Name], undefined> }
  if (!isPlainObject(options)) return options as Given
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Given
}

/**
 * What may have been meant by a name, as a part of a sentence.
 *
 * @param elsewhere - see `knownKeys`
 */
export function hintFor(
  key: string,
  keys: readonly string[],
  elsewhere: Readonly<Record<string, readonly string[]>> = {},
): string {
  const others = Object.entries(elsewhere)
  const [call] = others.find(([, names]) => names.includes(key)) ?? []
  if (call !== undefined) return `it is an option of ${call}`
  const own = suggestion(key, keys)
  if (own !== undefined) return `did you mean ${own}?`
  for (const [other, names] of others) {
    const meant = wordFor(key, names)
    if (meant !== undefined) return `did you mean ${meant}, an option of ${other}?`
  }
  return `known are ${keys.join(', ')}`
}

/** Whether this is an object literal (or one without a prototype), of whichever realm. */
export function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  // An Object.prototype of another realm (vm, jest) is not ours, but is the end of its chain as well.
  return prototype === null || prototype === Object.prototype || Object.getPrototypeOf(prototype) === null
}

/**
 * A queue's name: 1 to 128 characters (code points, as PostgreSQL's `char_length` counts them), any Unicode but
 * NUL and lone surrogates, which `text` cannot hold.
 *
 * @throws BugleError `INVALID_QUEUE`
 */
export function queueName(value: unknown): string {
  if (typeof value === 'string' && isStorable(value) && value.length >= 1 && codePoints(value) <= 128) return value
  throw new BugleError(
    'INVALID_QUEUE',
    `queue must be a string of 1 to 128 characters without NUL or lone surrogates; got ${describe(value)}`,
  )
}

/**
 * A schema's name: 1 to 63 bytes in UTF-8 (PostgreSQL would cut a longer one, silently) without NUL, and not
 * starting with `pg_`, which PostgreSQL keeps for itself. Anything else is allowed, as it is quoted everywhere.
 *
 * @throws BugleError `INVALID_OPTION`
 */
export function schemaName(value: unknown): string {
  if (
    typeof value === 'string' &&
    isStorable(value) &&
    value.length >= 1 &&
    Buffer.byteLength(value) <= 63 &&
    !value.startsWith('pg_')
  ) {
    return value
  }
  throw invalidOption('schema', 'must be a string of 1 to 63 bytes without NUL that does not start with pg_', value)
}

const largestId = 9_223_372_036_854_775_807n

/**
 * A job's id: a decimal string that bigint can hold.
 *
 * @throws BugleError `INVALID_OPTION`
 */
export function jobId(value: unknown, name = 'id'): string {
  if (isJobId(value)) return value
  throw invalidOption(name, "must be a job's id, a decimal string", value)
}

export function isJobId(value: unknown): value is string {
  return typeof value === 'string' && /^\d{1,19}$/.test(value) && BigInt(value) <= largestId
}

/** @throws BugleError `INVALID_OPTION`, with the place of the one at fault */
export function jobIds(ids: readonly unknown[]): string[] {
  return Array.from(ids, (id, index) => jobId(id, `ids[${index}]`))
}

/** As an array literal of bigint. The elements are decimal strings only, so nothing needs quoting. */
export function idArray(ids: readonly string[]): string {
  return `{${ids.join()}}`
}

/** What stands in a message for a value that may hold a password. */
export function kindOf(value: unknown): string {
  if (value === null) return 'null'
  return Array.isArray(value) ? 'array' : typeof value
}

/** Whether PostgreSQL's `text` and `jsonb` can hold it. */
export function isStorable(text: string): boolean {
  return text.isWellFormed() && !text.includes('\0')
}

function invalidOption(name: string, rule: string, value: unknown): BugleError {
  return new BugleError('INVALID_OPTION', `${name} ${rule}; got ${describe(value)}`)
}

function hasOwnKeys(value: unknown): value is object {
  return typeof value === 'object' && value !== null && Object.keys(value).length > 0
}

function codePoints(text: string): number {
  let count = 0
  for (const _ of text) count += 1
  return count
}
