import { expect, test } from 'vitest'
import { createTally } from '../../../src/consume/tally.js'

const job = (waitMs: number, crashes = 0) => ({ waitMs, job: { crashes } })

test('nothing has run: no percentiles, no pace', () => {
  const tally = createTally(5_000)
  expect(tally.figures(5_000)).toEqual({ rescued: 0, perSecond: 0, waitMs: null, runMs: null })
  expect(new Set(Object.values(tally.counts))).toEqual(new Set([0]))
})

test('percentiles are by nearest rank, each a value that was measured', () => {
  const tally = createTally(0)
  for (let n = 100; n >= 1; n -= 1) tally.ran(job(n), n * 10, 0)
  expect(tally.figures(0)).toMatchObject({
    waitMs: { p50: 50, p95: 95, p99: 99, max: 100 },
    runMs: { p50: 500, p95: 950, p99: 990, max: 1_000 },
  })
})

test('one run is all of its percentiles', () => {
  const tally = createTally(0)
  tally.ran(job(3), 7, 0)
  expect(tally.figures(0)).toMatchObject({ waitMs: { p50: 3, max: 3 }, runMs: { p50: 7, p99: 7 } })
})

test('the last 1,000 runs count, whatever ran before them; and asking changes nothing', () => {
  const tally = createTally(0)
  for (let n = 0; n < 500; n += 1) tally.ran(job(9_999), 9_999, 0)
  for (let n = 1; n <= 999; n += 1) tally.ran(job(n), n, 0)
  expect(tally.figures(0).waitMs?.max).toBe(9_999)
  tally.ran(job(1), 1, 0)
  expect(tally.figures(0).waitMs).toEqual({ p50: 499, p95: 949, p99: 989, max: 999 })
  expect(tally.figures(0).waitMs?.max).toBe(999)
})

test('rescued: runs of jobs that a process had died under', () => {
  const tally = createTally(0)
  for (const crashes of [0, 1, 2, 0]) tally.ran(job(1, crashes), 1, 0)
  expect(tally.figures(0).rescued).toBe(2)
})

test('the pace is that of the last minute', () => {
  const tally = createTally(0)
  // Ten a second, for two minutes.
  for (let ms = 0; ms < 120_000; ms += 100) tally.ran(job(1), 1, ms)
  expect(tally.figures(120_000).perSecond).toBeCloseTo(10, 0)
  // Half a minute later half of it is over.
  expect(tally.figures(150_000).perSecond).toBeCloseTo(5, 0)
  expect(tally.figures(180_500).perSecond).toBe(0)
  // And long after that, when something runs again.
  tally.ran(job(1), 1, 1_000_000)
  expect(tally.figures(1_000_500).perSecond).toBeCloseTo(1 / 59.5, 5)
})

test('seconds in which nothing ran count for nothing', () => {
  const tally = createTally(0)
  for (let n = 0; n < 100; n += 1) tally.ran(job(1), 1, 500)
  for (let n = 0; n < 100; n += 1) tally.ran(job(1), 1, 50_500)
  expect(tally.figures(50_500).perSecond).toBeCloseTo(200 / 50.5, 5)
  // The first hundred were in the second that is a minute ago now.
  expect(tally.figures(60_500).perSecond).toBeCloseTo(100 / 59.5, 5)
})

test('the pace of one younger than a minute is that of its life; in its first second it is that of a second', () => {
  const tally = createTally(10_300)
  for (let n = 0; n < 8; n += 1) tally.ran(job(1), 1, 10_310)
  expect(tally.figures(10_320).perSecond).toBe(8)
  expect(tally.figures(14_300).perSecond).toBe(2)
})
