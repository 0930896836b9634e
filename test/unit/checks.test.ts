import { runInNewContext } from 'node:vm'
import { describe, expect, test } from 'vitest'
import {
  isPlainObject,
  knownKeys,
  milliseconds,
  moment,
  oneOf,
  queueName,
  schemaName,
  synchronous,
  wholeNumber,
} from '../../src/checks.js'

function refused(act: () => unknown): { code: unknown; message: string } {
  try {
    act()
  } catch (error) {
    if (error instanceof Error && 'code' in error) return { code: error.code, message: error.message }
    throw error
  }
  throw new Error('it was accepted')
}

describe('wholeNumber', () => {
  test('the bounds are included', () => {
    expect(wholeNumber('concurrency', 1, { min: 1 })).toBe(1)
    expect(wholeNumber('port', 65_535, { min: 1, max: 65_535 })).toBe(65_535)
  })

  test.each([
    [0, '0'],
    [-1, '-1'],
    [1.5, '1.5'],
    [Number.NaN, 'NaN'],
    [Number.POSITIVE_INFINITY, 'Infinity'],
    [2 ** 53, '9007199254740992'],
    ['5', '"5"'],
    [5n, '5'],
    [null, 'null'],
    [undefined, 'undefined'],
    [{}, '[object Object]'],
    [Symbol('x'), 'Symbol(x)'],
  ])('%s is refused with name, rule and value', (value, shown) => {
    expect(refused(() => wholeNumber('concurrency', value, { min: 1 }))).toEqual({
      code: 'INVALID_OPTION',
      message: `concurrency must be a whole number from 1 up; got ${shown}`,
    })
  })

  test('both bounds are named if there are two', () => {
    expect(refused(() => wholeNumber('port', 70_000, { min: 1, max: 65_535 })).message).toBe(
      'port must be a whole number from 1 to 65535; got 70000',
    )
  })
})

describe('milliseconds', () => {
  test('a fraction is rounded up', () => {
    expect(milliseconds('delayMs', 0)).toBe(0)
    expect(milliseconds('delayMs', 0.4)).toBe(1)
    expect(milliseconds('delayMs', 30 * 24 * 3600 * 1000)).toBe(2_592_000_000)
  })

  test('Infinity only where it is allowed', () => {
    expect(milliseconds('graceMs', Number.POSITIVE_INFINITY, { allowInfinity: true })).toBe(Number.POSITIVE_INFINITY)
    expect(refused(() => milliseconds('delayMs', Number.POSITIVE_INFINITY)).message).toBe(
      'delayMs must be milliseconds from 0 up; got Infinity',
    )
  })

  test.each([-1, -0.1, Number.NaN, Number.NEGATIVE_INFINITY, 1e300, '5', null, undefined, new Date(5)])(
    '%s is refused',
    (value) => {
      const { code, message } = refused(() => milliseconds('graceMs', value, { allowInfinity: true }))
      expect(code).toBe('INVALID_OPTION')
      expect(message).toMatch(/^graceMs must be milliseconds from 0 up, or Infinity(, or a duration such as .*)?; got /)
    },
  )
})

describe('oneOf', () => {
  test('returns the value with its literal type', () => {
    const mode: 'keep' | 'replace' = oneOf('keyMode', 'keep', ['keep', 'replace'])
    expect(mode).toBe('keep')
    expect(oneOf('x', null, [null, false, 1])).toBeNull()
    expect(oneOf('x', false, [null, false, 1])).toBe(false)
  })

  test.each(['Keep', '', 0, undefined, {}])('%j is refused with the whole set', (value) => {
    const { code, message } = refused(() => oneOf('keyMode', value, ['keep', 'replace', 'reject']))
    expect(code).toBe('INVALID_OPTION')
    expect(message).toMatch(/^keyMode must be "keep", "replace" or "reject"; got /)
  })

  test('a set of one reads well', () => {
    expect(refused(() => oneOf('keep', 'all', ['failed'])).message).toBe('keep must be "failed"; got "all"')
  })
})

describe('knownKeys', () => {
  const known = ['concurrency', 'graceMs', 'timeoutMs', 'signal']

  test('known names pass, whatever their values, and so does no name at all', () => {
    knownKeys('consume options', { concurrency: 1, signal: undefined }, known)
    knownKeys('consume options', {}, known)
  })

  test.each([
    ['concurency', 'concurrency'],
    ['timeoutMS', 'timeoutMs'],
    ['timeout', 'timeoutMs'],
    ['grace', 'graceMs'],
    ['singal', 'signal'],
  ])('%s suggests %s', (key, near) => {
    expect(refused(() => knownKeys('consume options', { [key]: undefined }, known))).toEqual({
      code: 'INVALID_OPTION',
      message: `consume options: there is no option "${key}"; did you mean ${near}?`,
    })
  })

  test('far from all, all are listed', () => {
    expect(refused(() => knownKeys('consume options', { queueSize: 1 }, known)).message).toBe(
      'consume options: there is no option "queueSize"; known are concurrency, graceMs, timeoutMs, signal',
    )
  })

  test('an instance with properties of its own is an options object', () => {
    class Settings {
      concurrency = 1
    }
    knownKeys('consume options', new Settings(), known)
  })

  test.each<[unknown, string]>([
    [null, 'null'],
    [undefined, 'undefined'],
    [5, 'number'],
    ['postgres://jo:hush@db', 'string'],
    [new URL('postgres://jo:hush@db'), 'object'],
    [['x'], 'array'],
    [() => {}, 'function'],
  ])('%s is no options object, and is not shown', (value, kind) => {
    expect(refused(() => knownKeys('createBugle options', value, known)).message).toBe(
      `createBugle options must be an object of options; got ${kind}`,
    )
  })
})

test('a plain object is a literal of any realm, or has no prototype', () => {
  expect([{}, { a: 1 }, Object.create(null), runInNewContext('({ a: 1 })')].map(isPlainObject)).toEqual(
    Array(4).fill(true),
  )
  class Thing {}
  const others = [null, undefined, 5, 'x', [], () => {}, new Thing(), new Map(), new Date(), runInNewContext('[]')]
  expect(others.map(isPlainObject)).toEqual(others.map(() => false))
})

describe('queueName', () => {
  test.each(['a', 'emails', 'e-mails. "x"', '邮件', '🎺'.repeat(128), 'a'.repeat(128), '\n', '0'])(
    '%j is a name',
    (name) => {
      expect(queueName(name)).toBe(name)
    },
  )

  test.each(['', 'a'.repeat(129), '🎺'.repeat(129), 'a\0b', 'a\uD800', '\uDC00', 5, null, undefined, {}, ['a']])(
    '%j is refused',
    (name) => {
      const { code, message } = refused(() => queueName(name))
      expect(code).toBe('INVALID_QUEUE')
      expect(message).toMatch(/^queue must be a string of 1 to 128 characters .*; got /)
      expect(message.length).toBeLessThan(250)
    },
  )
})

describe('schemaName', () => {
  test.each(['bugle', 'My "Schema"', 'ä'.repeat(31), 'a'.repeat(63), 'pgx', 'PG_x'])('%j is a name', (name) => {
    expect(schemaName(name)).toBe(name)
  })

  test.each(['', 'a'.repeat(64), 'ä'.repeat(32), 'a\0', '\uD800', 'pg_catalog', 'pg_', 5, null])(
    '%j is refused',
    (name) => {
      const { code, message } = refused(() => schemaName(name))
      expect(code).toBe('INVALID_OPTION')
      expect(message).toMatch(/^schema must be a string of 1 to 63 bytes .*; got /)
    },
  )
})

test('a date and a promise of another realm (jest, vm) are a date and a promise', () => {
  const date = runInNewContext('new Date(0)') as unknown
  expect(moment('runAt', date)).toBe(date)
  expect(refused(() => moment('runAt', runInNewContext('new Date(NaN)')))).toMatchObject({ code: 'INVALID_OPTION' })
  expect(refused(() => synchronous('codec.encode', runInNewContext('Promise.reject(1)')))).toMatchObject({
    code: 'INVALID_OPTION',
  })
})
