import { expect, test } from 'vitest'
import { createObservations, type OtherWorker, type Verdict } from '../../../src/worker/observations.js'

const other: OtherWorker = { id: '7', seenAt: 'a', rescueAfterMs: 1_000, hungAfterMs: 10_000 }

/** A watcher whose looks take no time, unless it is said. */
function watcher(rescueAfterMs = 1_000) {
  const observations = createObservations(rescueAfterMs)
  return {
    observations,
    /** What is thought of each worker. */
    see(others: readonly OtherWorker[], at: number, isLockHeld = false, sentAt = at): (Verdict | 'not asked')[] {
      const look = { others, sentAt, answeredAt: at }
      const suspects = observations.look(look)
      return others.map((one) => (suspects.includes(one) ? observations.judge(one, isLockHeld, look) : 'not asked'))
    },
  }
}

test('a worker whose seen_at has not changed for its own rescueAfterMs is dead, and not a moment sooner', () => {
  const { see } = watcher()
  expect(see([other], 0)).toEqual(['not asked'])
  expect(see([other], 999)).toEqual(['not asked'])
  expect(see([other], 1_000)).toEqual(['dead'])
})

test('its own word counts, and not the watcher’s', () => {
  const { see } = watcher(300)
  see([other], 0)
  expect(see([other], 999)).toEqual(['not asked'])
  expect(see([other], 1_000)).toEqual(['dead'])
})

test('any change is a sign of life, also one backwards', () => {
  const { see } = watcher()
  see([{ ...other, seenAt: 'b' }], 0)
  see([{ ...other, seenAt: 'a' }], 900)
  expect(see([{ ...other, seenAt: 'a' }], 1_899)).toEqual(['not asked'])
  expect(see([{ ...other, seenAt: 'a' }], 1_900)).toEqual(['dead'])
})

test('one whose lock is held is alive, however long it says nothing, until it counts as hung', () => {
  const { see } = watcher()
  see([other], 0, true)
  expect(see([other], 1_000, true)).toEqual(['alive'])
  expect(see([other], 9_999, true)).toEqual(['alive'])
  expect(see([other], 10_000, true)).toEqual(['hung'])
})

test('a lock that is no longer held leaves a worker that has said nothing for long dead at once', () => {
  const { see } = watcher()
  see([other], 0, true)
  expect(see([other], 5_000, true)).toEqual(['alive'])
  expect(see([other], 5_300, false)).toEqual(['dead'])
})

test('a watcher that was stopped itself does not count its own absence', () => {
  const { see } = watcher()
  see([other], 0)
  // Sent before it was stopped, answered at once, read a minute later: as old as its sending.
  expect(see([other], 60_000, false, 300)).toEqual(['not asked'])
  // A change that was read late: it is counted from then.
  see([{ ...other, seenAt: 'b' }], 120_000, false, 60_300)
  expect(see([{ ...other, seenAt: 'b' }], 120_900)).toEqual(['not asked'])
  expect(see([{ ...other, seenAt: 'b' }], 121_000)).toEqual(['dead'])
})

test('after a reconnect nobody is judged for three times its rescueAfterMs, and everything is counted afresh', () => {
  const { observations, see } = watcher()
  see([other], 0)
  observations.restart(5_000)
  expect(see([other], 5_000)).toEqual(['not asked'])
  expect(see([other], 7_999)).toEqual(['not asked'])
  expect(see([other], 8_000)).toEqual(['dead'])
})

test('after a reconnect the longer word of the two counts', () => {
  const { observations, see } = watcher(2_000)
  observations.restart(0)
  see([other], 0)
  expect(see([other], 5_999)).toEqual(['not asked'])
  expect(see([other], 6_000)).toEqual(['dead'])
})

test('workers are judged each by itself, and one that is gone is forgotten', () => {
  const { see } = watcher()
  const second = { ...other, id: '8', rescueAfterMs: 60_000 }
  see([other, second], 0)
  expect(see([other, second], 1_500)).toEqual(['dead', 'not asked'])
  see([second], 1_600)
  expect(see([other, second], 1_700)).toEqual(['not asked', 'not asked'])
  expect(see([other, second], 60_000)).toEqual(['dead', 'dead'])
})
