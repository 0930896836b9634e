/**
 * Checks of what a caller hands in. Each returns the value with its type known, or throws a `BugleError` whose
 * message names the thing, the rule and the value: `concurrency must be a whole number from 1 up; got 0`.
 */
import { types } from 'node:util'
import { BugleError, describe } from './errors.js'

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
 * A duration in milliseconds, from 0 up.
 *
 * A fraction is rounded up, never down: a wait of 0.4 ms must not end at once. There is no upper bound: a retention of
 * 30 days is a duration too, but longer than a Node timer can be (2,147,483,647 ms, beyond which it fires at once), so
 * the caller must bound it before it sets a timer.
 *
 * @param rules - `allowInfinity`: whether `Infinity` ("no limit") is a value
 * @returns a whole number, or `Infinity` where allowed
 * @throws BugleError `INVALID_OPTION`
 */
export function milliseconds(name: string, value: unknown, rules: { allowInfinity?: boolean } = {}): number {
  const { allowInfinity = false } = rules
  if (typeof value === 'number' && value >= 0) {
    if (value <= Number.MAX_SAFE_INTEGER) return Math.ceil(value)
    if (value === Number.POSITIVE_INFINITY && allowInfinity) return value
  }
  throw invalidOption(name, `must be milliseconds from 0 up${allowInfinity ? ', or Infinity' : ''}`, value)
}

/**
 * Milliseconds that fit on one of Node's timers.
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
  return wholeNumber('timeoutMs', value, { min: 1, max: longestTimerMs })
}

/** A hundred years: what is due later than that is a slip, and timestamps end somewhere. */
const longestDelayMs = 3_155_760_000_000

/**
 * How long from now, in milliseconds, at most a hundred years; a fraction is rounded up.
 *
 * @throws BugleError `INVALID_OPTION`
 */
export function delay(name: string, value: unknown): number {
  const ms = milliseconds(name, value)
  if (ms <= longestDelayMs) return ms
  throw invalidOption(name, 'must be at most a hundred years in milliseconds', value)
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
 * Refuse an options object that holds a name nobody reads: mostly a misspelling that would silently do nothing.
 *
 * @param what - the object's name in messages: `consume options`
 * @param keys - every name that is read; a known name whose value is undefined is fine
 * @throws BugleError `INVALID_OPTION`, with the nearest known name if one is near
 */
export function knownKeys(what: string, object: unknown, keys: readonly string[]): void {
  // An instance without properties of its own, a URL say, is no options object. Never shown: a URL holds a password.
  if (!isPlainObject(object) && !(hasOwnKeys(object) && !Array.isArray(object))) {
    throw new BugleError('INVALID_OPTION', `${what} must be an object of options; got ${kindOf(object)}`)
  }
  for (const key of Object.keys(object)) {
    if (keys.includes(key)) continue
    const near = nearest(key, keys)
    const hint = near === undefined ? `known are ${keys.join(', ')}` : `did you mean ${near}?`
    throw new BugleError('INVALID_OPTION', `${what}: there is no option ${describe(key)}; ${hint}`)
  }
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

function nearest(key: string, keys: readonly string[]): string | undefined {
  const asked = key.toLowerCase()
  let best: string | undefined
  let bestDistance = Math.max(2, Math.floor(key.length / 3)) + 1
  for (const known of keys) {
    const name = known.toLowerCase()
    // `timeout` for `timeoutMs`, `hostname` for `host`: a forgotten unit is the commonest slip.
    const contained = asked.length >= 3 && (name.startsWith(asked) || asked.startsWith(name))
    const distance = contained ? 1 : editDistance(asked, name)
    if (distance < bestDistance && distance < known.length) {
      best = known
      bestDistance = distance
    }
  }
  return best
}

/** Levenshtein's distance, row by row. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i]
    for (let j = 1; j <= b.length; j += 1) {
      const substituted = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(substituted, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}
