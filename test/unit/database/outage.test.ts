import { expect, test } from 'vitest'
import { createOutage } from '../../../src/database/outage.js'
import { NotSentError } from '../../../src/database/verdict.js'
import { DeadlineError } from '../../../src/deadline.js'

/** What is told, and the time, which tests set. */
function outageUnderTest() {
  const told: string[] = []
  const clock = { now: 0 }
  const outage = createOutage({ emit: (name) => told.push(name) }, () => clock.now)
  return { outage, told, clock }
}

const refused = (code = 'ECONNREFUSED') => new NotSentError('put', Object.assign(new Error('no'), { code }))
const both = ['database:down', 'database:up']

test('a session or a statement that gets through in an outage ends the pauses of all', () => {
  const { outage, told } = outageUnderTest()
  const forget = outage.onWayFree(() => told.push('free'))
  const forgetEnd = outage.onEnd(() => told.push('end'))
  outage.answered('rest', 0)
  outage.gotThrough()
  expect(told).toEqual([])
  outage.down('rest', new Error('away'))
  expect(outage.isDown).toBe(true)
  outage.gotThrough()
  outage.answered('rest', 1)
  expect(told).toEqual(['database:down', 'free', 'database:up', 'free', 'end'])
  expect(outage.isDown).toBe(false)
  outage.answered('rest', 1)
  outage.moved()
  forget()
  forgetEnd()
  outage.down('rest', new Error('away'))
  outage.answered('rest', 2)
  expect(told.slice(5)).toEqual(['free', ...both])
})

test('only a connection that was opened since ends an outage, and only on the way that was refused', () => {
  const { outage, told, clock } = outageUnderTest()
  clock.now = 10
  outage.answered('rest', 5)
  outage.failed('puts', refused('53300'), 10)
  for (clock.now = 11; clock.now < 20; clock.now += 1) {
    outage.answered('rest', 5)
    outage.answered('puts', 5)
    outage.failed('puts', refused('53300'), clock.now)
  }
  // One more connection of the other pool was let in. This one was not.
  outage.answered('rest', 20)
  outage.failed('puts', refused('53300'), 21)
  outage.answered('puts', 20)
  expect([told, outage.waysDown]).toEqual([['database:down'], ['puts']])
  outage.answered('puts', 22)
  expect([told, outage.waysDown]).toEqual([both, []])
})

test('an outage of several ways begins with the first, and ends with the last', () => {
  const { outage, told, clock } = outageUnderTest()
  outage.onEnd(() => told.push('end'))
  outage.down('sessions', new Error('away'))
  outage.failed('rest', refused(), 0)
  outage.failed('puts', refused(), 0)
  clock.now = 1
  outage.answered('rest', 1)
  expect(told).toEqual(['database:down'])
  // Sessions wait for the statements, and nobody for the sessions.
  outage.answered('puts', 1)
  expect(told).toEqual(['database:down', 'end'])
  outage.answered('sessions', 1)
  expect(told).toEqual(['database:down', 'end', 'database:up', 'end'])
})

test('sessions try at once when a new connection of a pool has answered, and each connection is news once', () => {
  const { outage, told } = outageUnderTest()
  outage.answered('rest', 1)
  outage.down('sessions', new Error('away'))
  outage.onEnd(() => told.push('end'))
  outage.answered('rest', 1)
  expect(told).toEqual(['database:down'])
  outage.answered('rest', 2)
  outage.answered('rest', 2)
  outage.answered('puts', 1)
  expect(told).toEqual(['database:down', 'end'])
})

test('a refusal of before a connection was opened that has answered is old news, whatever its way', () => {
  const { outage, told } = outageUnderTest()
  outage.answered('rest', 10)
  outage.failed('puts', refused(), 9)
  outage.failed('rest', refused(), 9)
  expect(told).toEqual([])
  outage.failed('puts', refused(), 11)
  outage.failed('puts', refused(), 11)
  outage.answered('puts', 20)
  outage.answered('puts', 20)
  expect(told).toEqual(both)
})

test('a statement for which its pool had no time is no outage while the pool is answered', () => {
  const { outage, told, clock } = outageUnderTest()
  const late = new NotSentError('put', new DeadlineError('no answer within 65 s'))
  clock.now = 50
  outage.answered('puts', 1)
  outage.answered('rest', 1)
  outage.failed('puts', late, 40)
  expect(told).toEqual([])
  outage.failed('puts', late, 60)
  expect(told).toEqual(['database:down'])
})
