/**
 * Values on their way into the database: payloads, results and progress as JSON, and errors as storable objects.
 *
 * A payload that JSON or jsonb cannot hold is refused with the path to the place, never silently changed: what a
 * handler reads is what was put. An error is the other way round: always storable, whatever was thrown.
 */
// `types`, not instanceof: what is handed in may be of another realm (jest, vm).
import { types } from 'node:util'
import { isPlainObject, isStorable } from './checks.js'
import { BugleError, describe, textOf } from './errors.js'
import { isReadable, pathStep, read } from './reading.js'

/**
 * Levels of nesting in a payload. PostgreSQL 15 parses more than 10,000 with its default max_stack_depth of 2 MB,
 * and between 500 and 1,000 with the least that can be set, 100 kB (tried); Node's own limit depends on the stack
 * in use. So 1,000 leaves room on every side, and is more than any data has.
 */
export const maxDepth = 1000

/**
 * The JSON text of a value, exactly as `JSON.stringify` writes it, once it is certain that jsonb can hold it.
 *
 * As in JSON, `toJSON` is honoured (dates, buffers, URLs), an object's property that is undefined is left out,
 * and symbol keys and not enumerable properties are not seen. Instances of classes are written as their own
 * enumerable properties. Refused is what would be lost or changed without a word: see `throws`.
 *
 * @param limits - `what`: the value's name in messages and the start of paths (`payload.user.tags[3]`);
 *   `maxBytes`: of the text in UTF-8
 * @throws BugleError `INVALID_PAYLOAD` for BigInt, functions, symbols, cycles, undefined (at the top, in an array,
 *   or as a hole of one), NaN, Infinity, invalid dates, NUL or a lone surrogate in a string or property name,
 *   typed arrays, and objects that would be stored as `{}` (Map, Set, Error, …); for more than `maxDepth` levels;
 *   and, with the `cause`, where a `toJSON` or getter throws
 * @throws BugleError `PAYLOAD_TOO_LARGE`
 */
export function encodePayload(value: unknown, limits: { what: string; maxBytes: number }): string {
  const { what, maxBytes } = limits
  const text = quickText(value, maxBytes) ?? checkedText(value, what, maxBytes)
  // A UTF-16 unit takes at most three bytes, so most texts need no counting.
  if (text.length * 3 > maxBytes) {
    const bytes = Buffer.byteLength(text)
    if (bytes > maxBytes) throw tooLarge(what, `${bytes} bytes`, maxBytes)
  }
  return text
}

/**
 * The text of what is obviously in order, as nearly every payload is; undefined means look closer, not refuse.
 *
 * JSON.stringify is two to three times slower with a replacer than without (226 bytes of nested objects on two
 * shared cores, Node 20: 12 µs with the checks below, 6 this way, 5 without any check).
 */
function quickText(value: unknown, maxBytes: number): string | undefined {
  try {
    if (!isOrdinary(value, 0, { nodes: maxBytes })) return undefined
    const text = JSON.stringify(value)
    // A NUL or lone surrogate would be written as an escape, as are a few characters that are fine.
    return text.includes('\\u') ? undefined : text
  } catch {
    return undefined
  }
}

// Taken at import, to notice a date whose toJSON is somebody's own.
const dateToJson = Date.prototype.toJSON

/** Whether it is made of nothing but plain objects, arrays, valid dates and what JSON has itself. */
function isOrdinary(value: unknown, depth: number, left: { nodes: number }): boolean {
  left.nodes -= 1
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return true
    case 'number':
      return Number.isFinite(value)
    case 'object':
      if (value === null) return true
      // Both bounds also end the walk of a cycle, or of few objects that are shared very often.
      if (depth >= maxDepth || left.nodes < 0) return false
      if (value instanceof Date) return value.toJSON === dateToJson && !Number.isNaN(value.getTime())
      if ('toJSON' in value) return false
      if (Array.isArray(value)) {
        for (let i = 0; i < value.length; i += 1) if (!isOrdinary(value[i], depth + 1, left)) return false
        return true
      }
      if (Object.getPrototypeOf(value) !== Object.prototype) return false
      for (const key in value) {
        const property = (value as Record<string, unknown>)[key]
        if (property !== undefined && !isOrdinary(property, depth + 1, left)) return false
      }
      return true
    default:
      return false
  }
}

/** The text of anything that can be written, or the refusal with the path to the place. */
function checkedText(value: unknown, what: string, maxBytes: number): string {
  const pass = createPass(what, maxBytes)
  try {
    return JSON.stringify(value, pass.replacer)
  } catch (error) {
    throw pass.refusal() ?? foreignRefusal(value, what, maxBytes, error)
  }
}

/**
 * One walk of `JSON.stringify`. The replacer sees each value after its `toJSON`, and the holder as `this`;
 * it changes nothing but boxed primitives.
 */
function createPass(what: string, maxBytes: number) {
  // The objects that are being written, outermost first, and the key under which each stands. The first is the
  // wrapper that JSON.stringify makes, so the length is the depth of the current value.
  const open: object[] = []
  const keys: string[] = []
  // A lower bound of the text's length. Shared objects can unfold to gigabytes: stop before, not after.
  let leastBytes = 0
  let refused: BugleError | undefined

  function refuse(key: string, reason: string): BugleError {
    refused = invalid(pathTo(what, open, keys, key), reason)
    return refused
  }

  function replacer(this: object, key: string, raw: unknown): unknown {
    if (open.length === 0) open.push(this)
    while (open[open.length - 1] !== this) {
      open.pop()
      keys.pop()
    }
    const value = typeof raw === 'object' && raw !== null ? unboxed(raw) : raw
    leastBytes += 1
    switch (typeof value) {
      case 'string':
        if (!isStorable(value)) throw refuse(key, `has ${flaw(value)}, which PostgreSQL cannot hold`)
        leastBytes += value.length
        break
      case 'number':
        if (!Number.isFinite(value)) throw refuse(key, `is ${value}, which JSON cannot hold`)
        break
      case 'boolean':
        break
      case 'undefined':
        if (!Array.isArray(this) && open.length > 1) return value
        throw refuse(key, `is undefined${Array.isArray(this) ? ' in an array' : ''}, which JSON cannot hold`)
      case 'bigint':
        throw refuse(key, 'is a BigInt, which JSON cannot hold; write it as a string')
      case 'function':
      case 'symbol':
        throw refuse(key, `is a ${typeof value}, which JSON cannot hold`)
      case 'object': {
        if (value === null) {
          if (isInvalidDate((this as Record<string, unknown>)[key])) throw refuse(key, 'is an invalid Date')
          break
        }
        const reason = unwritable(value)
        if (reason !== undefined) throw refuse(key, reason)
        if (open.length > maxDepth) throw refuse(key, `is nested deeper than ${maxDepth} levels`)
        if (open.includes(value)) throw refuse(key, 'is part of a cycle, which JSON cannot hold')
        checkName(this, key)
        open.push(value)
        keys.push(key)
        return value
      }
    }
    checkName(this, key)
    if (leastBytes > maxBytes) {
      refused = tooLarge(what, `more than ${maxBytes} bytes`, maxBytes)
      throw refused
    }
    return value
  }

  function checkName(holder: object, key: string): void {
    if (isStorable(key) || Array.isArray(holder)) return
    throw refuse(key, `has ${flaw(key)} in its name, which PostgreSQL cannot hold`)
  }

  return { replacer, refusal: () => refused }
}

/** What `JSON.stringify` writes for a boxed primitive; anything else as it is. */
function unboxed(value: object): unknown {
  return types.isNumberObject(value) || types.isStringObject(value) || types.isBooleanObject(value)
    ? value.valueOf()
    : value
}

/** Why an object cannot be written as it is, if it cannot. Its `toJSON`, if any, has been called before. */
function unwritable(value: object): string | undefined {
  if (Array.isArray(value) || isPlainObject(value)) return undefined
  const kind = className(value)
  if (ArrayBuffer.isView(value)) return `is a ${kind}, which JSON would store as an object of numbered keys`
  if (value instanceof Error || types.isNativeError(value))
    return 'is an Error, whose message and stack JSON would leave out'
  if (isContainer(value) || Object.keys(value).length === 0) {
    return `is a ${kind} without toJSON or enumerable properties, and would be stored as {}`
  }
  return undefined
}

// Own properties on one of these are an accident: what it holds is elsewhere.
function isContainer(value: object): boolean {
  return (
    types.isMap(value) ||
    types.isSet(value) ||
    types.isWeakMap(value) ||
    types.isWeakSet(value) ||
    types.isPromise(value) ||
    types.isRegExp(value)
  )
}

function isInvalidDate(value: unknown): boolean {
  return types.isDate(value) && Number.isNaN(value.getTime())
}

function className(value: object): string {
  const name: unknown = read(read(value, 'constructor'), 'name')
  return typeof name === 'string' && name !== '' ? name.slice(0, 50) : 'object'
}

function flaw(text: string): string {
  return text.includes('\0') ? 'a NUL character' : 'a lone surrogate'
}

/** What `JSON.stringify` itself threw, or the caller's own code inside it. */
function foreignRefusal(value: unknown, what: string, maxBytes: number, error: unknown): BugleError {
  const message = read(error, 'message')
  if (message === 'Invalid string length') return tooLarge(what, 'more than a string can hold', maxBytes)
  // Nothing more is tried then: V8 ends the process when a regular expression has no stack left to be compiled on.
  if (message === 'Maximum call stack size exceeded') return invalid(what, 'is nested too deeply for the stack', error)
  const reason = typeof message === 'string' ? message : describe(error)
  return invalid(throwingPath(value, what) ?? what, `cannot be turned into JSON: ${reason}`, error)
}

/** Where a getter or `toJSON` throws: a second, slow walk, done only after the first has failed. */
function throwingPath(value: unknown, what: string): string | undefined {
  const seen = new Set<unknown>()
  function walk(holder: object, key: string, path: string): string | undefined {
    let value: unknown
    let names: string[] = []
    try {
      value = (holder as Record<string, unknown>)[key]
      const toJson: unknown =
        typeof value === 'object' && value !== null && 'toJSON' in value ? value.toJSON : undefined
      if (typeof toJson === 'function') value = toJson.call(value, key)
      if (typeof value !== 'object' || value === null || seen.has(value)) return undefined
      seen.add(value)
      names = Object.keys(value)
    } catch {
      return path
    }
    for (const name of names) {
      const found = walk(value, name, path + step(value, name))
      if (found !== undefined) return found
    }
    return undefined
  }
  try {
    return walk({ '': value }, '', what)
  } catch {
    return undefined // The stack ran out here as well.
  }
}

function pathTo(what: string, open: readonly object[], keys: readonly string[], key: string): string {
  let path = what
  // keys[i] is the key of open[i + 1]; the first of all is the wrapper's empty one.
  const steps = [...keys, key].slice(1)
  for (const [index, name] of steps.entries()) {
    if (path.length > 200) return `${path}…`
    path += step(open[index + 1], name)
  }
  return path
}

function step(holder: unknown, key: string): string {
  return Array.isArray(holder) ? `[${key}]` : pathStep(key)
}

function invalid(path: string, reason: string, cause?: unknown): BugleError {
  return new BugleError('INVALID_PAYLOAD', `${path} ${reason}`, cause === undefined ? {} : { cause })
}

function tooLarge(what: string, size: string, maxBytes: number): BugleError {
  const rule = `${what} must be at most ${maxBytes} bytes as JSON in UTF-8; got ${size}`
  return new BugleError('PAYLOAD_TOO_LARGE', `${rule}: raise maxPayloadBytes, or store the data elsewhere`)
}

/**
 * A text that PostgreSQL can hold: each NUL and lone surrogate becomes U+FFFD.
 *
 * @param maxChars - UTF-16 units that are kept; one less where the cut would fall inside a surrogate pair
 */
export function storableText(text: string, maxChars: number): string {
  let end = Math.min(text.length, maxChars)
  // Within a pair, the two units are well-formed together and not apart.
  if (text.slice(end - 1, end + 1).isWellFormed() && !text.slice(end - 1, end).isWellFormed()) end -= 1
  return text.slice(0, end).toWellFormed().replaceAll('\0', '\uFFFD')
}

/** An error as it is stored and shown to operators: plain, JSON can hold it, at most some 70,000 characters. */
export interface StoredError {
  /** The class or `name`; `Error` if it has none. */
  name: string
  /** At most 2,000 characters. What was thrown, described, if it was no error. */
  message: string
  /** At most 4,000 characters. */
  stack?: string
  /** Ours, a SQLSTATE, or Node's; a number becomes its digits. */
  code?: string
  cause?: StoredError
  /** The first five of an AggregateError. */
  errors?: StoredError[]
}

// Together with the two bounds below: an error made of errors is a tree, and the whole of it lands in one row.
const maxStoredErrors = 12
const maxCauses = 5
const maxAggregated = 5

/**
 * Whatever was thrown, as an object that is safe to store. Never throws, whatever getters or proxies do.
 *
 * The cause chain is followed for five causes and the errors of an AggregateError for five, twelve in all; an error
 * that was met before is left out, so a chain that bites its tail ends there.
 */
export function describeError(error: unknown): StoredError {
  const seen = new Set<unknown>()

  function store(error: unknown, depth: number): StoredError {
    if (!isReadable(error)) {
      return { name: 'Error', message: storableText(typeof error === 'string' ? error : describe(error), 2000) }
    }
    seen.add(error)
    const stored: StoredError = {
      name: readText(error, 'name', 200) || 'Error',
      message: readText(error, 'message', 2000) ?? storableText(textOf(error), 2000),
    }
    const stack = readText(error, 'stack', 4000)
    if (stack !== undefined) stored.stack = stack
    const code = read(error, 'code')
    if (typeof code === 'string' || typeof code === 'number') stored.code = storableText(String(code), 100)
    if (depth >= maxCauses) return stored
    const cause = read(error, 'cause')
    if (cause !== undefined && cause !== null && isNew(cause)) stored.cause = store(cause, depth + 1)
    const errors: StoredError[] = []
    for (const inner of aggregated(error)) if (isNew(inner)) errors.push(store(inner, depth + 1))
    if (errors.length > 0) stored.errors = errors
    return stored
  }

  function isNew(error: unknown): boolean {
    return seen.size < maxStoredErrors && !(isReadable(error) && seen.has(error))
  }

  return store(error, 0)
}

function aggregated(error: object): unknown[] {
  try {
    if (!(error instanceof AggregateError) && read(error, 'name') !== 'AggregateError') return []
    const errors = read(error, 'errors')
    return Array.isArray(errors) ? errors.slice(0, maxAggregated) : []
  } catch {
    return [] // A proxy refused to say what it is.
  }
}

function readText(value: object, key: string, maxChars: number): string | undefined {
  const text = read(value, key)
  return typeof text === 'string' ? storableText(text, maxChars) : undefined
}
