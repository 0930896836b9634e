import { expect, test } from 'vitest'
import type { ClaimedJob } from '../../../../src/consume/claimed-job.js'
import { createLaneTimes, isFit } from '../../../../src/consume/express/when.js'

const full = { asked: 100, found: 100, fit: 95, ahead: 200 }

function timesUnderTest() {
  let at = 5_000
  const times = createLaneTimes(() => at)
  return {
    times,
    pass(ms: number) {
      at += ms
    },
    /** Opened, and ended after so many ms. */
    lane(openMs: number, how: Parameters<typeof times.ended>[0], wasAsked = false) {
      times.opened()
      at += openMs
      times.ended(how, wasAsked)
    },
    /** For how long there is none. */
    pauseMs() {
      for (const ms of [0, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000]) {
        at += ms
        const may = times.mayOpen(full)
        at -= 1
        const mayBefore = times.mayOpen(full)
        at -= ms - 1
        if (may && (ms === 0 || !mayBefore)) return ms
      }
      return null
    },
  }
}

test('a lane opens after a full claim, with large look-ahead, of rows that are nearly all for it', () => {
  const { times } = timesUnderTest()
  expect(times.mayOpen(full)).toBe(true)
  for (const other of [{ found: 99, fit: 99 }, { ahead: 99 }, { fit: 89 }])
    expect(times.mayOpen({ ...full, ...other }), JSON.stringify(other)).toBe(false)
})

test('it ends after a claim that was short or slow, and after a batch of which a quarter was kept', () => {
  const { times } = timesUnderTest()
  const claim = { asked: 5, found: 5, tookMs: 1, from: null, isFirst: false }
  // On a new session nothing is prepared.
  expect(times.claimed({ ...claim, tookMs: 200, isFirst: true })).toBe(true)
  expect(times.claimed({ ...claim, tookMs: 20 })).toBe(true)
  expect(times.claimed({ ...claim, found: 4 })).toBe(false)
  expect(times.claimed({ ...claim, tookMs: 20.1 })).toBe(false)
  // There may be others below.
  expect(times.claimed({ ...claim, found: 4, from: '7' })).toBe(true)
  expect(times.written({ jobs: 100, kept: 24, free: 76 })).toBe(true)
  expect(times.written({ jobs: 100, kept: 25, free: 0 })).toBe(false)
  // Others have the slots.
  expect(times.written({ jobs: 100, kept: 0, free: 100 })).toBe(false)
})

test('pauses double while lanes are shorter than them, up to a minute, and begin anew after a longer one', () => {
  const { lane, pass, pauseMs } = timesUnderTest()
  lane(500, 'closed')
  expect(pauseMs()).toBe(1_000)
  for (const next of [2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]) {
    pass(60_000)
    lane(500, next > 8_000 ? 'refused' : 'failed')
    expect(pauseMs()).toBe(next)
  }
  pass(60_000)
  lane(60_000, 'closed')
  expect(pauseMs()).toBe(1_000)
})

test('after a loss there is none for a minute; after an end that was asked for it may open at once', () => {
  const { lane, pauseMs } = timesUnderTest()
  lane(10, 'closed', true)
  expect(pauseMs()).toBe(0)
  lane(10, 'lost', true)
  expect(pauseMs()).toBe(60_000)
})

test('jobs with a key, a crash or much data are not fit', () => {
  const job = (about: object, bytes = 8_192) =>
    ({ job: { key: null, crashes: 0, ...about }, bytes }) as unknown as ClaimedJob
  expect(isFit(job({}))).toBe(true)
  expect([job({ key: 'k' }), job({ crashes: 1 }), job({}, 8_193)].map(isFit)).toEqual([false, false, false])
})
