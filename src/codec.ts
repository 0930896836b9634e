import { functionOf, kindOf, synchronous } from './checks.js'
import { BugleError, describe } from './errors.js'

/**
 * Translates values that are more than JSON (dates, maps, big integers) on their way into the database and back.
 *
 * Both are synchronous. What `encode` returns must be something that JSON can hold; `decode` is given what
 * the database has of it, and answers with a value equal to the first: `decode(JSON.parse(JSON.stringify(encode(x))))`.
 */
export interface Codec {
  /** Turns a value of the application into what JSON can hold. */
  encode(value: unknown): unknown
  /** The way back. */
  decode(stored: unknown): unknown
}

/**
 * The option of `createBugle`: any object with the two methods, an instance or a module as well.
 *
 * @returns both methods as they are now, bound to the object; they throw where the answer is a promise
 * @throws BugleError `INVALID_OPTION`
 */
export function codecOption(value: unknown): Codec {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) {
    throw new BugleError('INVALID_OPTION', `codec must be an object with encode and decode; got ${kindOf(value)}`)
  }
  const { encode, decode } = methods(value)
  const encodes = functionOf<Codec['encode']>('codec.encode', encode).bind(value)
  const decodes = functionOf<Codec['decode']>('codec.decode', decode).bind(value)
  return Object.freeze({
    encode: (given: unknown) => synchronous('codec.encode', encodes(given)),
    decode: (stored: unknown) => synchronous('codec.decode', decodes(stored)),
  })
}

function methods(codec: { encode?: unknown; decode?: unknown }): { encode: unknown; decode: unknown } {
  try {
    return { encode: codec.encode, decode: codec.decode }
  } catch (error) {
    throw new BugleError('INVALID_OPTION', `codec cannot be read: ${describe(error)}`, { cause: error })
  }
}
