import { runInNewContext } from 'node:vm'
import { describe, expect, test } from 'vitest'
import { BugleError } from '../../src/errors.js'
import { describeError, encodePayload, maxDepth, storableText } from '../../src/payload.js'

const encode = (value: unknown, maxBytes = 1024 * 1024) => encodePayload(value, { what: 'payload', maxBytes })

function refused(value: unknown, maxBytes?: number): BugleError {
  try {
    encode(value, maxBytes)
  } catch (error) {
    if (error instanceof BugleError) return error
    throw error
  }
  throw new Error('it was accepted')
}

function nested(levels: number, make: (inner: unknown) => unknown): unknown {
  let value: unknown = 1
  for (let level = 0; level < levels; level += 1) value = make(value)
  return value
}

class Account {
  readonly #secret = 1
  id = 7
  get secret(): number {
    return this.#secret
  }
}
class Hidden {
  readonly #secret = 1
  get secret(): number {
    return this.#secret
  }
}

describe('encodePayload', () => {
  test.each<[string, unknown]>([
    ['null', null],
    ['false', false],
    ['an empty string', ''],
    ['a string', 'text'],
    ['zero below zero', -0],
    ['numbers', [0, 1.5, -1e300, 5e-324, Number.MAX_SAFE_INTEGER]],
    ['empty object and array', { a: {}, b: [] }],
    ['an undefined property is left out', { a: undefined, b: 1 }],
    ['a date', { at: new Date(0) }],
    ['a buffer', { body: Buffer.from('ab') }],
    ['a URL', new URL('http://example.org/')],
    ['an object without a prototype', Object.assign(Object.create(null), { a: 1 })],
    ['a literal of another realm', runInNewContext('({ a: [1, { b: 2 }] })')],
    ['an instance with fields', new Account()],
    ['the same object twice', ((shared) => ({ a: shared, b: [shared] }))({ x: 1 })],
    ['a toJSON of the caller', { money: { toJSON: () => ({ cents: 5 }) } }],
    ['a toJSON that leaves a property out', { gone: { toJSON: () => undefined }, kept: 1 }],
    ['boxed primitives', [Object(5), Object('x'), Object(true)]],
    ['characters that JSON escapes', 'tab\t quote" back\\slash \u001b \\u0000 line\n \u2028'],
    ['pairs of surrogates', { '🎺': '🎺' }],
    ['a getter', { get x() { return 1 } }], // biome-ignore format: one line
    ['a symbol as key is not seen', { [Symbol('s')]: 1 }],
    ['an own __proto__', JSON.parse('{"__proto__": {"a": 1}}')],
  ])('%s: as JSON.stringify writes it', (_, value) => {
    expect(encode(value)).toBe(JSON.stringify(value))
  })

  const cycle: Record<string, unknown> = { a: { b: [] } }
  ;(cycle.a as { b: unknown[] }).b.push(1, cycle)
  const revoked = Proxy.revocable({}, {})
  revoked.revoke()
  const invalidDate = new Date(Number.NaN)

  const refusals: [value: unknown, message: string][] = [
    [undefined, 'payload is undefined'],
    [() => 1, 'payload is a function'],
    [Symbol('x'), 'payload is a symbol'],
    [1n, 'payload is a BigInt'],
    [Number.NaN, 'payload is NaN'],
    [{ user: { tags: ['a', 'b', 'c', undefined] } }, 'payload.user.tags[3] is undefined in an array'],
    [{ list: Array(2) }, 'payload.list[0] is undefined in an array'],
    // biome-ignore lint/suspicious/noSparseArray: a hole is what this is about
    [[1, , 3], 'payload[1] is undefined in an array'],
    [{ a: [[], [{ b: 1n }]] }, 'payload.a[1][0].b is a BigInt'],
    [{ f: () => 1 }, 'payload.f is a function'],
    [{ s: Symbol('x') }, 'payload.s is a symbol'],
    [[Number.POSITIVE_INFINITY], 'payload[0] is Infinity'],
    [[Number.NEGATIVE_INFINITY], 'payload[0] is -Infinity'],
    [[Object(Number.NaN)], 'payload[0] is NaN'],
    [{ a: { at: invalidDate } }, 'payload.a.at is an invalid Date'],
    [invalidDate, 'payload is an invalid Date'],
    ['a\0b', 'payload has a NUL character'],
    [{ a: ['\uD83C'] }, 'payload.a[0] has a lone surrogate'],
    [Object('\uDFBA'), 'payload has a lone surrogate'],
    [{ x: { 'a\0': 1 } }, 'payload.x["a\\u0000"] has a NUL character in its name'],
    [{ '\uD800': {} }, 'payload["\\ud800"] has a lone surrogate in its name'],
    [{ 'two words': { '0': 1n } }, 'payload["two words"]["0"] is a BigInt'],
    [cycle, 'payload.a.b[1] is part of a cycle'],
    [{ m: new Map([[1, 2]]) }, 'payload.m is a Map without toJSON or enumerable properties, and would be stored as {}'],
    [new Set([1]), 'payload is a Set'],
    [[/x/], 'payload[0] is a RegExp'],
    [{ p: Promise.resolve(1) }, 'payload.p is a Promise'],
    [new WeakMap(), 'payload is a WeakMap'],
    [Object.assign(new Map(), { own: 1 }), 'payload is a Map'],
    // Of another realm, as jest and vm make them.
    [runInNewContext('Object.assign(new Map(), { own: 1 })'), 'payload is a Map'],
    [runInNewContext('Object.assign(new Error("no"), { own: 1 })'), 'payload is an Error'],
    [runInNewContext('[new Date(NaN)]'), 'payload[0] is an invalid Date'],
    [new URLSearchParams('a=1'), 'payload is a URLSearchParams'],
    [new Hidden(), 'payload is a Hidden'],
    [Object.create({ inherited: 1 }), 'payload is a Object'],
    [{ e: new TypeError('x') }, 'payload.e is an Error'],
    [Object.assign(new Error('x'), { code: 'E' }), 'payload is an Error'],
    [{ b: new Uint8Array(3) }, 'payload.b is a Uint8Array, which JSON would store as an object of numbered keys'],
    [{ x: { toJSON: () => new Map() } }, 'payload.x is a Map'],
    [{ x: { toJSON: () => [1n] } }, 'payload.x[0] is a BigInt'],
    [{ x: { toJSON: () => undefined } }.x, 'payload is undefined'],
    [revoked.proxy, 'payload cannot be turned into JSON'],
  ]
  // Not test.each: it looks into the values, which the revoked proxy does not bear.
  for (const [value, message] of refusals) {
    test(`refused: ${message}`, () => {
      const error = refused(value)
      expect(error.code).toBe('INVALID_PAYLOAD')
      expect(error.message.slice(0, message.length)).toBe(message)
    })
  }

  test('a toJSON or getter that throws is refused with the path and the cause', () => {
    const cause = new RangeError('no such month')
    const fail = () => {
      throw cause
    }
    const places: [unknown, string][] = [
      [{ a: [1, { at: { toJSON: fail } }] }, 'payload.a[1].at'],
      [{ a: Object.defineProperty({}, 'x', { get: fail, enumerable: true }) }, 'payload.a.x'],
      [{ toJSON: fail }, 'payload'],
    ]
    for (const [value, path] of places) {
      const error = refused(value)
      expect(error.code).toBe('INVALID_PAYLOAD')
      expect(error.message).toBe(`${path} cannot be turned into JSON: no such month`)
      expect(error.cause).toBe(cause)
    }
  })

  test('the name of what is encoded begins the path', () => {
    expect(() => encodePayload({ a: 1n }, { what: 'result', maxBytes: 10 })).toThrow('result.a is a BigInt')
  })

  test('a thousand levels are taken and one more is not', () => {
    const wraps = [
      (inner: unknown) => [inner],
      (inner: unknown) => ({ a: inner }),
      (inner: unknown) => [{ 'a\t': inner }],
    ]
    for (const [index, wrap] of wraps.entries()) {
      const each = index === 2 ? 2 : 1
      const value = nested(maxDepth / each, wrap)
      expect(encode(value)).toBe(JSON.stringify(value))
      const { code, message } = refused(wrap(value))
      expect(code).toBe('INVALID_PAYLOAD')
      expect(message).toMatch(/… is nested deeper than 1000 levels$/)
      expect(message.length).toBeLessThan(300)
    }
    expect(refused(nested(200_000, (inner) => [inner])).message).toMatch(/nested deeper than 1000 levels$/)
  })

  test('a call with hardly any stack left is a refusal, not a RangeError', () => {
    const deep = nested(900, (inner) => ({ inner }))
    const outcomes = new Set<unknown>()
    const recurse = (frame: number): void => {
      try {
        recurse(frame + 1)
      } catch {
        // Each frame on the way back has a little more room than the one before.
      }
      if (outcomes.has('text') || frame % 50 !== 0) return
      try {
        outcomes.add(typeof encode(deep) === 'string' ? 'text' : 'nothing')
      } catch (error) {
        // At the very end not even our own functions can be called.
        outcomes.add(error instanceof BugleError ? error.code : 'no room at all')
      }
    }
    recurse(0)
    outcomes.delete('no room at all')
    expect([...outcomes].sort()).toEqual(['INVALID_PAYLOAD', 'text'])
  })

  test('the limit is bytes in UTF-8', () => {
    expect(encode('é'.repeat(4), 10)).toBe(`"${'é'.repeat(4)}"`)
    expect(encode('a'.repeat(8), 10)).toBe('"aaaaaaaa"')
    for (const text of ['a'.repeat(9), 'é'.repeat(5)]) {
      const { code, message } = refused(text, 10)
      expect(code).toBe('PAYLOAD_TOO_LARGE')
      expect(message).toMatch(/^payload must be at most 10 bytes as JSON in UTF-8; got /)
    }
    expect(refused('é'.repeat(5), 10).message).toMatch(/got 12 bytes: raise maxPayloadBytes, or/)
  })

  test('few objects that unfold to gigabytes are refused before they do', () => {
    let value: unknown = ['x'.repeat(100)]
    for (let level = 0; level < 40; level += 1) value = [value, value]
    expect(refused(value, 10_000).code).toBe('PAYLOAD_TOO_LARGE')
  })

  test('a getter that changes its mind cannot get something past the checks of the slow way', () => {
    let reads = 0
    const value = {
      first: new Account(), // not ordinary, so the checked walk is what is left
      get second(): unknown {
        reads += 1
        return reads === 1 ? 1n : 'fine'
      },
    }
    expect(() => encode(value)).toThrow('payload.second is a BigInt')
  })
})

describe('storableText', () => {
  test.each([
    ['plain', 10, 'plain'],
    ['', 10, ''],
    ['a\0b', 10, 'a\uFFFDb'],
    ['a\uD800b\uDC00', 10, 'a\uFFFDb\uFFFD'],
    ['🎺🎺', 10, '🎺🎺'],
    ['🎺🎺', 4, '🎺🎺'],
    ['🎺🎺', 3, '🎺'],
    ['🎺🎺', 2, '🎺'],
    ['🎺🎺', 1, ''],
    ['abc', 2, 'ab'],
    ['abc', 0, ''],
    ['a\uD800', 2, 'a\uFFFD'],
    ['a\uD800b', 2, 'a\uFFFD'],
    ['\uD800abc', 3, '\uFFFDab'],
  ])('%j to %d: %j', (text, maxChars, expected) => {
    const stored = storableText(text, maxChars)
    expect(stored).toBe(expected)
    expect(stored.length).toBeLessThanOrEqual(maxChars)
  })
})

describe('describeError', () => {
  test('an error: name, message, stack, code and cause', () => {
    const cause = Object.assign(new Error('refused'), { code: 'ECONNREFUSED', errno: -111 })
    const stored = describeError(new BugleError('DATABASE_DOWN', 'down', { cause }))
    expect(stored).toEqual({
      name: 'BugleError',
      message: 'down',
      code: 'DATABASE_DOWN',
      stack: expect.stringContaining('payload.test'),
      cause: { name: 'Error', message: 'refused', code: 'ECONNREFUSED', stack: expect.any(String) },
    })
  })

  test.each<[unknown, { name: string; message: string; code?: string }]>([
    ['text', { name: 'Error', message: 'text' }],
    [undefined, { name: 'Error', message: 'undefined' }],
    [null, { name: 'Error', message: 'null' }],
    [5, { name: 'Error', message: '5' }],
    [Symbol('x'), { name: 'Error', message: 'Symbol(x)' }],
    [{}, { name: 'Error', message: '{}' }],
    [
      { code: 5, field: { a: [1] } },
      { name: 'Error', message: '{ code: 5, field: { a: [ 1 ] } }', code: '5' },
    ],
    [Object.create(null), { name: 'Error', message: '[Object: null prototype] {}' }],
    [
      { name: 'Custom', message: 'a\0\uD800', code: 7 },
      { name: 'Custom', message: 'a\uFFFD\uFFFD', code: '7' },
    ],
    [
      { name: 5, message: {}, code: {} },
      { name: 'Error', message: '{ name: 5, message: {}, code: {} }' },
    ],
  ])('%# what is no Error is described', (thrown, expected) => {
    expect(describeError(thrown)).toEqual(expected)
  })

  test('five causes are kept, and a cycle ends', () => {
    let error = new Error('0')
    for (let depth = 1; depth < 10; depth += 1) error = new Error(String(depth), { cause: error })
    const messages: string[] = []
    for (let at: ReturnType<typeof describeError> | undefined = describeError(error); at; at = at.cause) {
      messages.push(at.message)
    }
    expect(messages).toEqual(['9', '8', '7', '6', '5', '4'])

    const first: Error = new Error('first')
    first.cause = new Error('second', { cause: first })
    expect(describeError(first).cause?.cause).toBeUndefined()
    const self: Error = new Error('self')
    self.cause = self
    expect(describeError(self).cause).toBeUndefined()
  })

  test('five errors of an AggregateError are kept, and a tree of them is bounded', () => {
    const many = Array.from({ length: 9 }, (_, i) => new Error(String(i)))
    const stored = describeError(new AggregateError(many, 'all failed'))
    expect(stored.errors?.map(({ message }) => message)).toEqual(['0', '1', '2', '3', '4'])

    const tree = (levels: number): Error =>
      levels === 0
        ? new Error('leaf'.repeat(1000))
        : new AggregateError(
            [0, 1, 2, 3, 4].map(() => tree(levels - 1)),
            'branch'.repeat(1000),
          )
    expect(JSON.stringify(describeError(tree(4))).length).toBeLessThan(100_000)
  })

  test('hostile errors are described all the same', () => {
    const fail = () => {
      throw new Error('hostile')
    }
    const revoked = Proxy.revocable({}, {})
    revoked.revoke()
    const traps = { get: fail, has: fail, getPrototypeOf: fail, ownKeys: fail, getOwnPropertyDescriptor: fail }
    const hostile: unknown[] = [
      revoked.proxy,
      new Proxy({}, traps),
      new Proxy(() => {}, traps),
      Object.defineProperties(new Error('x'), {
        stack: { get: fail }, // first, as V8 writes it when it is replaced, and reads name and message for that
        message: { get: fail },
        cause: { get: fail },
        code: { get: fail },
        name: { get: fail },
      }),
      { toString: fail, [Symbol.toPrimitive]: fail },
      Object.assign(new AggregateError([]), { errors: revoked.proxy }),
      new AggregateError([revoked.proxy, new Proxy([], traps)]),
      new Error('x', { cause: revoked.proxy }),
    ]
    for (const error of hostile) {
      const stored = describeError(error)
      expect(stored.name).toMatch(/Error$/)
      // It can be stored: JSON can hold it, and so can jsonb.
      expect(encode(stored)).toBe(JSON.stringify(stored))
    }
  })

  test('long texts are cut', () => {
    const stored = describeError(Object.assign(new Error('m'.repeat(5000)), { stack: 's'.repeat(50_000) }))
    expect(stored.message).toHaveLength(2000)
    expect(stored.stack).toHaveLength(4000)
  })
})
