import superjson, { type SuperJSONResult } from 'superjson'
import { describe, expect, test } from 'vitest'
import { type Codec, codecOption } from '../../src/codec.js'
import { BugleError } from '../../src/errors.js'
import { encodePayload } from '../../src/payload.js'

const superjsonCodec: Codec = {
  encode: (value) => superjson.serialize(value),
  decode: (stored) => superjson.deserialize(stored as SuperJSONResult),
}

/** As a payload travels: to JSON text that the database keeps, and back. */
function roundTrip(codec: Codec, value: unknown): unknown {
  return codec.decode(JSON.parse(encodePayload(codec.encode(value), { what: 'payload', maxBytes: 10_000 })))
}

function refused(act: () => unknown): string {
  try {
    act()
  } catch (error) {
    if (error instanceof BugleError && error.code === 'INVALID_OPTION') return error.message
    throw error
  }
  throw new Error('it was accepted')
}

describe('superjson as codec', () => {
  const codec = codecOption(superjsonCodec)

  test.each<[string, unknown]>([
    ['a date', new Date(1_700_000_000_123)],
    [
      'a map',
      new Map<unknown, unknown>([
        ['a', 1],
        [2, new Date(0)],
      ]),
    ],
    ['a set', new Set([1, 'a', 3n])],
    ['a BigInt', 2n ** 70n],
    ['undefined', undefined],
    ['undefined within', { list: [1, undefined, null], gone: undefined }],
    ['numbers that JSON has not', [Number.NaN, Number.POSITIVE_INFINITY, -0]],
    ['all of them', { when: new Date(0), by: new Map([['x', new Set([5n])]]), plain: [1, 'a', null, { b: true }] }],
    ['plain JSON', { to: 'a@example.org', tags: ['x'], n: 1.5, nothing: null }],
  ])('%s comes back as it was', (_, value) => {
    expect(roundTrip(codec, value)).toStrictEqual(value)
  })
})

describe('codecOption', () => {
  test('binds the methods of an instance', () => {
    class Prefixed {
      prefix = 'v1:'
      encode(value: unknown): unknown {
        return this.prefix + JSON.stringify(value)
      }
      decode(stored: unknown): unknown {
        return JSON.parse(String(stored).slice(this.prefix.length))
      }
    }
    const { encode, decode } = codecOption(new Prefixed())
    expect(encode({ a: 1 })).toBe('v1:{"a":1}')
    expect(decode('v1:{"a":1}')).toEqual({ a: 1 })
  })

  test('keeps the methods as they were', () => {
    const given = { encode: () => 'first', decode: () => 'first' }
    const codec = codecOption(given)
    given.encode = () => 'second'
    expect(codec.encode(1)).toBe('first')
    expect(Object.isFrozen(codec)).toBe(true)
  })

  test('takes a function with the two methods', () => {
    expect(codecOption(Object.assign(() => {}, superjsonCodec)).encode(1)).toEqual({ json: 1 })
  })

  test.each<[unknown, string]>([
    [undefined, 'codec must be an object with encode and decode; got undefined'],
    [null, 'codec must be an object with encode and decode; got null'],
    ['superjson', 'codec must be an object with encode and decode; got string'],
    [{}, 'codec.encode must be a function; got undefined'],
    [{ encode: () => 1 }, 'codec.decode must be a function; got undefined'],
    [{ encode: 'x', decode: () => 1 }, 'codec.encode must be a function; got "x"'],
    [superjson, 'codec.encode must be a function; got undefined'],
  ])('refuses %s', (value, message) => {
    expect(refused(() => codecOption(value))).toBe(message)
  })

  test('refuses what cannot be read', () => {
    const { proxy, revoke } = Proxy.revocable({}, {})
    revoke()
    expect(refused(() => codecOption(proxy))).toMatch(/^codec cannot be read: TypeError: /)
  })
})
