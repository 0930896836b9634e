import { expect, test } from 'vitest'
import { createClaimSize, mostBytes } from '../../../../src/consume/claim/claim-size.js'

function claimSizeUnderTest() {
  const size = createClaimSize()
  return {
    size,
    /** A claim was full, unless it `asked` for more. @returns how many the next one may ask for */
    answered(jobs: number, bytes: number, { asked = jobs, tookMs = 5 } = {}): number {
      size.answered({ asked, jobs: Array(jobs).fill({ bytes }), tookMs })
      return size.most
    },
  }
}

test('before a claim was answered, jobs are not known to weigh anything', () => {
  const { size } = claimSizeUnderTest()
  expect([size.most, size.mostHeld]).toEqual([Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY])
})

test('a claim asks for what weighs 16 MB together, judged by the jobs of the last one', () => {
  const { answered, size } = claimSizeUnderTest()
  expect(answered(10, 1_000_000)).toBe(16)
  expect(size.mostHeld).toBe(16)
  expect(answered(10, 4_000_000)).toBe(4)
})

test('one job may be claimed however heavy jobs are; beyond the slots none is held then', () => {
  const { answered, size } = claimSizeUnderTest()
  expect(answered(1, mostBytes)).toBe(1)
  expect(size.mostHeld).toBe(1)
  expect(answered(1, mostBytes + 1)).toBe(1)
  expect(size.mostHeld).toBe(0)
})

test('heavier jobs count at once, lighter ones bit by bit, and an answer without jobs not at all', () => {
  const { answered } = claimSizeUnderTest()
  expect(answered(500, 100)).toBeGreaterThan(100_000)
  expect(answered(10, 2_000_000)).toBe(8)
  expect(answered(0, 0, { asked: 8 })).toBe(8)
  expect(answered(8, 0)).toBe(9)
  let claims = 0
  while (answered(8, 0) < 500) claims += 1
  expect(claims).toBeGreaterThan(20)
  // As many as it remembers.
  expect(answered(10, 2_000_000)).toBe(8)
  expect(answered(64, 1_000)).toBe(16_777)
})

test('a claim whose time was up halves the number, down to one, whatever jobs weigh', () => {
  const { size } = claimSizeUnderTest()
  const after: number[] = []
  for (const asked of [10, 5, 2, 1, 1]) {
    size.timedOut(asked)
    after.push(size.most)
  }
  expect(after).toEqual([5, 2, 1, 1, 1])
  expect(size.mostHeld).toBe(1)
})

test('of two claims in flight whose time was up, each halves what is left', () => {
  const { size } = claimSizeUnderTest()
  size.timedOut(400)
  size.timedOut(100)
  expect(size.most).toBe(50)
  size.timedOut(400)
  expect(size.most).toBe(25)
})

test('a full claim that was quick doubles it again, until nothing is left of it', () => {
  const { answered, size } = claimSizeUnderTest()
  size.timedOut(500)
  for (let tries = 0; tries < 5; tries += 1) size.timedOut(size.most)
  expect(size.most).toBe(7)
  expect(answered(7, 100)).toBe(14)
  expect(answered(3, 100)).toBe(14)
  for (const next of [28, 56, 112, 224, 448]) expect(answered(size.most, 100)).toBe(next)
  expect(answered(448, 100)).toBeGreaterThan(100_000)
})

test('a claim that was not full, or took a fifth of its time, does not', () => {
  const { answered, size } = claimSizeUnderTest()
  size.timedOut(10)
  expect(answered(4, 100, { asked: 5 })).toBe(5)
  expect(answered(5, 100, { tookMs: 2_001 })).toBe(5)
  expect(answered(5, 100, { tookMs: 1_999 })).toBe(10)
})
