import { expect, test } from 'vitest'
import { createLookAhead, type LookAhead, roundTripMs } from '../../../../src/consume/claim/look-ahead.js'
import type { ConsumerOptions } from '../../../../src/consume/options.js'

function lookAheadUnderTest(prefetch: ConsumerOptions['prefetch'] = 'earned', concurrency = 10) {
  let at = 1_000
  let totalBusyMs = 0
  const lookAhead = createLookAhead({ prefetch, concurrency }, () => at)
  return {
    lookAhead,
    /**
     * Since the last answer: so many handlers have ended, in so many ms with slots taken, each having run for `runMs`.
     */
    answered(
      ended: number,
      {
        inMs = 10,
        busyMs = inMs,
        runMs = 0.1,
        tripMs = 2,
        emptyMs = 0,
        isFull = true,
      }: {
        inMs?: number
        busyMs?: number
        runMs?: number
        tripMs?: number
        emptyMs?: number
        tookMs?: number
        isFull?: boolean
      } = {},
    ): number {
      for (let n = 0; n < ended; n += 1) lookAhead.ended(runMs)
      at += inMs
      totalBusyMs += busyMs
      lookAhead.answered({ tripMs, emptyMs, isFull, busyMs: totalBusyMs })
      return lookAhead.jobs
    },
    pass: (ms: number) => {
      at += ms
    },
  }
}

/** It is earned as long as handlers end. */
function hasSome({ jobs }: LookAhead): boolean {
  return jobs > 0
}

test('before a claim was answered, and while no handler has ended, there is no look-ahead', () => {
  const { lookAhead, answered } = lookAheadUnderTest()
  expect(lookAhead.jobs).toBe(0)
  expect(answered(0)).toBe(0)
  lookAhead.ended(0.1)
  expect(lookAhead.jobs).toBe(0)
})

test('as many jobs may be held as end in the time of two round trips', () => {
  const { answered } = lookAheadUnderTest()
  // 50 in 10 ms; a round trip takes 2 ms.
  expect(answered(50)).toBe(20)
  expect(answered(25)).toBe(10)
  expect(answered(50, { tripMs: 1 })).toBe(10)
  expect(answered(50, { inMs: 100 })).toBe(2)
  expect(answered(1, { inMs: 100 })).toBe(0)
})

test('what slots stood empty for is no part of the pace', () => {
  const { answered } = lookAheadUnderTest()
  expect(answered(50, { inMs: 100, busyMs: 10 })).toBe(20)
})

test('it grows by four times what has ended at the most', () => {
  const { answered } = lookAheadUnderTest()
  expect(answered(24, { busyMs: 0.01 })).toBe(96)
  expect(answered(120, { busyMs: 0.01, runMs: 0.01 })).toBe(480)
  expect(answered(1, { busyMs: 0 })).toBe(4)
})

test('a claim that was not full earns none: a queue with little to do never has any', () => {
  const { answered } = lookAheadUnderTest()
  expect(answered(50, { isFull: false })).toBe(0)
  expect(answered(50)).toBe(20)
  expect(answered(50, { isFull: false })).toBe(0)
  expect(answered(50)).toBe(20)
  // Just after the other one's answer as well.
  expect(answered(0, { inMs: 0.5, isFull: false })).toBe(0)
})

test('it is earned anew with each answer', () => {
  const { answered } = lookAheadUnderTest()
  expect(answered(50)).toBe(20)
  expect(answered(1, { inMs: 100 })).toBe(0)
  expect(answered(50)).toBe(20)
})

test('an answer that comes before a handler has ended tells nothing: what ends after it counts with its time', () => {
  const { answered } = lookAheadUnderTest()
  expect(answered(0)).toBe(0)
  expect(answered(50)).toBe(10)
  expect(answered(0, { inMs: 100 })).toBe(10)
  expect(answered(0, { inMs: 100 })).toBe(10)
  expect(answered(50, { inMs: 200 })).toBe(0)
})

test('an answer that comes just after another tells nothing of the pace: what has ended counts with the next', () => {
  const { answered } = lookAheadUnderTest()
  expect(answered(50)).toBe(20)
  // Of two claims that were in flight together.
  expect(answered(1, { inMs: 0.9 })).toBe(20)
  expect(answered(0, { inMs: 0 })).toBe(20)
  expect(answered(24, { inMs: 9.1 })).toBe(10)
})

test('handlers that take longer than a round trip earn it too, as many jobs as slots end in two', () => {
  // Four slots, and 1.6 ms for each job: 2.5 end in a ms, if slots never stand empty.
  const { answered } = lookAheadUnderTest('earned', 4)
  expect(answered(4, { inMs: 3.5, busyMs: 1.6, runMs: 1.6, tripMs: 1.5 })).toBe(7)
  expect(answered(11, { inMs: 5, runMs: 1.6, tripMs: 1.5 })).toBe(6)
})

test('a round trip is what slots stood empty for, where that is longer than what the server tells of it', () => {
  const { answered } = lookAheadUnderTest()
  expect(answered(50, { emptyMs: 1 })).toBe(20)
  expect(answered(50, { emptyMs: 4 })).toBe(40)
  // At most 25 ms.
  expect(answered(10, { inMs: 100, emptyMs: 25 })).toBe(5)
  expect(answered(10, { inMs: 100, emptyMs: 400 })).toBe(5)
})

test('handlers of which slots end less than one in the time of two round trips earn none', () => {
  const { answered } = lookAheadUnderTest()
  // Ten in 41 ms are 0.98 in 4 ms; ten in 40 ms are one.
  expect(answered(10, { inMs: 41, runMs: 41 })).toBe(0)
  expect(answered(10, { inMs: 40, runMs: 40 })).toBe(1)
  expect(answered(10, { inMs: 1_000, runMs: 1_000 })).toBe(0)
})

test('handlers that began together and end together earn no more than slots end on average', () => {
  const { lookAhead, answered } = lookAheadUnderTest()
  // Ten of them in the last millisecond, each after 500 ms.
  expect(answered(10, { inMs: 1, runMs: 500 })).toBe(0)
  expect(answered(10, { inMs: 1, runMs: 5 })).toBe(8)
  // One long handler among short ones makes the average.
  lookAhead.ended(5_000)
  expect(answered(50)).toBe(0)
  expect(answered(50)).toBe(20)
})

test('handlers that keep a claim’s answer waiting do not count as a long round trip', () => {
  // The server took 0.5 ms: a round trip of 2 ms at the most, whatever was measured.
  expect(roundTripMs(400, 0.5)).toBe(2)
  expect(roundTripMs(1.2, 0.5)).toBe(1.2)
})

test('it is never more than two statements may settle', () => {
  const { answered } = lookAheadUnderTest()
  expect(answered(10_000, { inMs: 1, runMs: 0.001 })).toBe(1_000)
  expect(answered(10_000, { inMs: 0, runMs: 0.001 })).toBe(1_000)
})

test('after what was held has waited for too long it has to be earned again', () => {
  const { lookAhead, answered } = lookAheadUnderTest()
  expect(answered(50)).toBe(20)
  lookAhead.lost()
  expect(lookAhead.jobs).toBe(0)
  expect(answered(50)).toBe(20)
})

test('what is earned may be held for 50 ms; what was given as a number for ever', () => {
  expect(lookAheadUnderTest().lookAhead.patienceMs).toBe(50)
  expect(lookAheadUnderTest(20).lookAhead.patienceMs).toBe(Number.POSITIVE_INFINITY)
  expect(lookAheadUnderTest(0).lookAhead.patienceMs).toBe(Number.POSITIVE_INFINITY)
})

for (const prefetch of [0, 1, 20, 5_000]) {
  test(`a prefetch of ${prefetch} stands from the first answer on, whatever handlers do`, () => {
    const { lookAhead, answered } = lookAheadUnderTest(prefetch)
    expect(lookAhead.jobs).toBe(0)
    expect(answered(50)).toBe(prefetch)
    expect(answered(0)).toBe(prefetch)
    expect(answered(50, { runMs: 10_000 })).toBe(prefetch)
    lookAhead.lost()
    expect(lookAhead.jobs).toBe(prefetch)
  })
}

for (const prefetch of ['earned', 20] as const) {
  test(`there is no look-ahead for five seconds after a job that a process died under (prefetch: ${prefetch})`, () => {
    const { lookAhead, answered, pass } = lookAheadUnderTest(prefetch)
    expect(answered(50)).toBe(20)
    lookAhead.suspected()
    // At once, not with the answer of the claim that saw it.
    expect(lookAhead.jobs).toBe(0)
    expect(answered(50)).toBe(0)
    expect(answered(50)).toBe(0)
    pass(4_970)
    expect(hasSome(lookAhead)).toBe(false)
    // Another one: from then on.
    lookAhead.suspected()
    expect(answered(50, { isFull: false })).toBe(0)
    pass(4_989)
    expect(hasSome(lookAhead)).toBe(false)
    expect(answered(0)).toBe(prefetch === 'earned' ? 0 : 20)
    // In twice the time.
    expect(answered(50)).toBe(prefetch === 'earned' ? 10 : 20)
  })
}
