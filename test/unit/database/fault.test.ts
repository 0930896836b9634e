import { expect, test } from 'vitest'
import { type CallEffect, callError, toldError } from '../../../src/database/fault.js'
import { BugleError } from '../../../src/errors.js'

const failure = (code: string): Error => Object.assign(new Error('beneath'), { code })
const effects: readonly CallEffect[] = ['reads', 'writes', 'has written']

const codes = {
  // Nobody was reached; whatever a call has written before that is written.
  NOT_SENT: ['DATABASE_DOWN', 'DATABASE_DOWN', 'RESULT_UNKNOWN'],
  // The answer was lost.
  CONNECTION_CLOSED: ['DATABASE_DOWN', 'RESULT_UNKNOWN', 'RESULT_UNKNOWN'],
  DEADLINE: ['DATABASE_DOWN', 'RESULT_UNKNOWN', 'RESULT_UNKNOWN'],
  // Also of a code that seems to say that nobody was reached: it was sent, and no server has answered.
  ECONNREFUSED: ['DATABASE_DOWN', 'RESULT_UNKNOWN', 'RESULT_UNKNOWN'],
  EHOSTUNREACH: ['DATABASE_DOWN', 'RESULT_UNKNOWN', 'RESULT_UNKNOWN'],
  '57P01': ['DATABASE_DOWN', 'RESULT_UNKNOWN', 'RESULT_UNKNOWN'],
  '42P01': ['NOT_MIGRATED', 'NOT_MIGRATED', 'NOT_MIGRATED'],
  '42883': ['NOT_MIGRATED', 'NOT_MIGRATED', 'NOT_MIGRATED'],
  '42501': ['NO_PRIVILEGE', 'NO_PRIVILEGE', 'NO_PRIVILEGE'],
  // A standby.
  '25006': ['DATABASE_DOWN', 'DATABASE_DOWN', 'RESULT_UNKNOWN'],
} as const

for (const [code, expected] of Object.entries(codes)) {
  test(`a call that fails with ${code} is ${expected.join(', ')} if it ${effects.join(', ')}`, () => {
    const cause = failure(code)
    for (const [index, effect] of effects.entries()) {
      const error = callError('requeue', cause, effect)
      expect(error).toBeInstanceOf(BugleError)
      expect(error).toMatchObject({ code: expected[index], cause })
      expect(error.message).toMatch(/^requeue: .*beneath/)
    }
  })
}

test('an event tells the server’s own error, unless somebody has to mend something', () => {
  for (const [code, ours] of [
    ['42501', 'NO_PRIVILEGE'],
    ['42P01', 'NOT_MIGRATED'],
  ] as const) {
    const cause = failure(code)
    expect(toldError('consume', cause)).toMatchObject({ code: ours, cause })
    expect(toldError('consume', cause).message).toMatch(/^consume: beneath: .*`/)
  }
  for (const code of ['NOT_SENT', 'CONNECTION_CLOSED', '57P01', '25006', '55P03', 'P0001', '']) {
    const error = failure(code)
    expect(toldError('consume', error)).toBe(error)
  }
  const closed = new BugleError('CLOSED', 'closed')
  expect(toldError('consume', closed)).toBe(closed)
})

test('what no code of ours says better comes through, and so does what has a code already', () => {
  for (const code of ['55P03', '40P01', '23514', '22003', '54000']) {
    const error = failure(code)
    expect(callError('cancel', error, 'writes')).toBe(error)
  }
  const closed = new BugleError('CLOSED', 'closed')
  expect(callError('cancel', closed, 'writes')).toBe(closed)
  expect(callError('cancel', 'thrown', 'reads')).toMatchObject({ message: 'thrown' })
})
