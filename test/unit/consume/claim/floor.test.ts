import { expect, test } from 'vitest'
import { createFloor, type Floor } from '../../../../src/consume/claim/floor.js'
import type { ClaimedJob } from '../../../../src/consume/claimed-job.js'

/** A job's id, or its id and its priority. */
type Found = number | readonly [id: number, priority: number]

function floorUnderTest() {
  let at = 1_000
  const floor = createFloor(() => at)
  return {
    floor,
    /** A claim of so many jobs, if it is to prove something or not. @returns from where it was made */
    claim(
      found: readonly Found[],
      { asked = 500, tripMs = 2, proves = false }: { asked?: number; tripMs?: number; proves?: boolean } = {},
    ): string | null {
      const from = floor.next(proves)
      floor.answered({ from, tripMs, jobs: found.map(toJob), isFull: found.length === asked })
      return from
    },
    pass(ms: number) {
      at += ms
    },
  }
}

function toJob(found: Found): ClaimedJob {
  const [id, priority] = typeof found === 'number' ? [found, 0] : found
  return { job: { id: String(id), priority } } as ClaimedJob
}

const next = (floor: Floor): string | null => floor.next(false)

/** A full claim's worth of jobs. */
function full(first: number, priority = 0): Found[] {
  return Array.from({ length: 500 }, (_, index) => [first + index, priority])
}

/** Two full claims in a row: a floor from then on. */
function withFloor({ tripMs = 2, priority = 0 } = {}) {
  const under = floorUnderTest()
  expect(under.claim(full(1, priority), { tripMs })).toBe(null)
  expect(under.claim(full(501, priority), { tripMs })).toBe(null)
  expect(next(under.floor)).toBe('1000')
  return under
}

test('once a thousand jobs have come by full claims in a row, claims begin where the last one ended', () => {
  const { floor, claim } = withFloor()
  expect(claim(full(1_001))).toBe('1000')
  expect(claim(full(1_501))).toBe('1500')
  expect(next(floor)).toBe('2000')
})

test('full claims that are not in a row do not count together', () => {
  const { floor, claim } = floorUnderTest()
  claim(full(1))
  claim([501])
  claim(full(502))
  expect(next(floor)).toBe(null)
  claim(full(1_002))
  expect(next(floor)).toBe('1501')
})

test('a claim that is to prove something always looks from the first id on', () => {
  const { floor, claim } = withFloor()
  expect(floor.next(true)).toBe(null)
  expect(claim(full(1_001), { proves: true })).toBe(null)
  expect(next(floor)).toBe('1500')
})

test('after a claim that was not full the next one looks from the first id on', () => {
  const { floor, claim } = withFloor()
  expect(claim([1_001])).toBe('1000')
  expect(next(floor)).toBe(null)
  expect(claim([])).toBe(null)
  expect(next(floor)).toBe(null)
})

test('a job behind the floor waits for 25 ms, and no longer, while claims come back full', () => {
  const { floor, claim, pass } = withFloor()
  let last = 1_000
  for (let ms = 0; ms < 24; ms += 1) {
    pass(1)
    expect(claim(full(last + 1))).toBe(String(last))
    last += 500
  }
  pass(1)
  expect(claim(full(last + 1))).toBe(null)
  expect(next(floor)).toBe(String(last + 500))
})

test('where looking from the first id on takes long, it is done for a tenth of the time', () => {
  const { floor, claim, pass } = withFloor({ tripMs: 36 })
  pass(359)
  // How long claims from the floor take changes nothing.
  expect(claim(full(1_001), { tripMs: 1_000 })).toBe('1000')
  pass(1)
  expect(next(floor)).toBe(null)
})

test('where looking from the first id on was slow, claims that are not full keep the floor', () => {
  const { floor, claim, pass } = floorUnderTest()
  expect(claim([1], { tripMs: 36 })).toBe(null)
  expect(claim([2], { tripMs: 2 })).toBe('1')
  expect(claim([])).toBe('2')
  expect(next(floor)).toBe('2')
  pass(360)
  // Vacuum has been there: it is quick again.
  expect(claim([3], { tripMs: 2 })).toBe(null)
  expect(next(floor)).toBe(null)
})

test('a look is not slow that took 10 ms, and a tenth for each job that it found', () => {
  for (const [found, tripMs, isSlow] of [
    [[], 10, false],
    [[1], 10.1, false],
    [[1], 10.2, true],
    [full(1).slice(0, 400), 50, false],
    [full(1).slice(0, 400), 50.1, true],
  ] as const) {
    const { floor, claim } = floorUnderTest()
    claim([0], { tripMs: 36 })
    expect(claim(found, { tripMs, proves: true })).toBe(null)
    expect([found.length, tripMs, next(floor) !== null]).toEqual([found.length, tripMs, isSlow])
  }
})

test('a claim that brought jobs of several priorities gives the floor up', () => {
  const { floor, claim } = withFloor()
  // By priority, then id: the last one's id says nothing of what was passed over.
  expect(claim([[2_000, 5], ...full(1_001).slice(1)])).toBe('1000')
  expect(next(floor)).toBe(null)
  expect(claim([[2_001, 5], 1_600], { tripMs: 100 })).toBe(null)
  expect(next(floor)).toBe(null)
})

test('jobs of one priority, whichever, have a floor', () => {
  const { claim } = withFloor({ priority: 7 })
  expect(claim(full(1_001, 7))).toBe('1000')
})
