import { expect, test } from 'vitest'
import { backoff, jitter } from '../../src/backoff.js'

const least = (): number => 0
const middle = (): number => 0.5
const most = (): number => 1 - Number.EPSILON

test('a pause doubles with each failure in a row, up to its bound', () => {
  const ms = { least: 50, most: 1_000 }
  const pauses = Array.from({ length: 8 }, (_, before) => backoff(ms, before, middle))
  expect(pauses).toEqual([50, 100, 200, 400, 800, 1_000, 1_000, 1_000])
  // No number of failures is too large for a timer.
  expect(backoff(ms, 100_000, middle)).toBe(1_000)
})

test('it is jittered from half of it to one and a half, also at its bound', () => {
  const ms = { least: 50, most: 1_000 }
  expect([least, most].map((random) => backoff(ms, 0, random))).toEqual([25, expect.closeTo(75)])
  expect([least, most].map((random) => backoff(ms, 9, random))).toEqual([500, expect.closeTo(1_500)])
})

test('a jitter goes evenly from one multiple to the other', () => {
  expect([0, 0.25, 0.5, 0.75].map((share) => jitter(1_000, 0.8, 1.2, () => share))).toEqual(
    [800, 900, 1_000, 1_100].map((ms) => expect.closeTo(ms)),
  )
  expect([least, middle, most].map((random) => jitter(10_000, 0, 1, random))).toEqual([
    0,
    5_000,
    expect.closeTo(10_000),
  ])
  expect(jitter(0, 0.5, 1.5, middle)).toBe(0)
  expect(jitter(Number.POSITIVE_INFINITY, 0.9, 1.1, least)).toBe(Number.POSITIVE_INFINITY)
})
