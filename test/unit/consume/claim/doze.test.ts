import { expect, onTestFinished, test, vi } from 'vitest'
import { createDoze } from '../../../../src/consume/claim/doze.js'
import { deafMs } from '../../../../src/consume/claim/sleep.js'

/**
 * A consumer that dozes beside `others`, on a clock of the test's own; each of its draws is `share`.
 *
 * @param before - those of them that come before it
 */
async function dozingBeside(others: number, share = 0.5, before = others) {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const counts: number[] = []
  const claims: number[] = []
  let present = others
  const startedAt = performance.now()
  const doze = createDoze({
    count: async () => {
      counts.push(performance.now() - startedAt)
      return { others: present, before: Math.min(before, present) }
    },
    claim: () => {
      claims.push(performance.now() - startedAt)
      doze.answered()
    },
    now: () => performance.now(),
    random: () => share,
  })
  await doze.begin()
  counts.splice(0)
  return {
    doze,
    /** When others were counted, and claims asked for, in ms since it began to doze. */
    counts,
    claims,
    /** So many are left of the others. */
    left: (count: number) => {
      present = count
    },
    pass: (ms: number) => vi.advanceTimersByTimeAsync(ms),
  }
}

test('a notification is answered the later the more others doze; beside a few at once', async () => {
  for (const [others, isDozing, claimsAt] of [
    [0, false, 0],
    [3, false, 0],
    [4, true, 100],
    [63, true, 5_000],
    [10_000, true, 5_000],
  ] as const) {
    const { doze, claims, pass } = await dozingBeside(others)
    expect(doze.isDozing).toBe(isDozing)
    doze.notified()
    expect(doze.owesAnswer).toBe(isDozing)
    await pass(20_000)
    expect(claims).toEqual([claimsAt])
    vi.useRealTimers()
  }
})

test('one answer is for all notifications until then, and a claim for another reason is as well', async () => {
  const { doze, claims, pass } = await dozingBeside(63)
  doze.notified()
  await pass(2_000)
  doze.notified()
  await pass(3_000)
  expect(claims).toEqual([5_000])
  doze.notified()
  await pass(1_000)
  doze.answered()
  expect(doze.owesAnswer).toBe(false)
  await pass(20_000)
  expect(claims).toEqual([5_000])
})

test('a find or a new lock ends it', async () => {
  const { doze, claims } = await dozingBeside(63)
  doze.end()
  expect(doze.isDozing).toBe(false)
  doze.notified()
  expect(claims).toEqual([0])
})

for (const [who, left] of [
  ['all others', 0],
  ['all but a few', 3],
  ['most', 5],
] as const) {
  test(`where ${who} have gone, the next notification is answered within about ${deafMs} ms`, async () => {
    const { doze, claims, left: leave, pass } = await dozingBeside(63, 0.99)
    await pass(60_000)
    leave(left)
    doze.notified()
    await pass(1.5 * deafMs)
    expect(claims).toHaveLength(1)
  })
}

test('where they go during a wait, what comes then is late by a quarter of the former wait at most', async () => {
  const { doze, claims, left, pass } = await dozingBeside(63, 0.99)
  doze.notified()
  await pass(4_000)
  expect(claims).toEqual([])
  left(0)
  doze.notified()
  await pass(1_500)
  expect(claims).toHaveLength(1)
})

test('a wait is ended by fewer others, and not made longer by more', async () => {
  const fewer = await dozingBeside(63, 0.5)
  fewer.doze.notified()
  await fewer.pass(1_000)
  fewer.left(23)
  await fewer.pass(2_000)
  // Half of 4 s, and it was over when that became known.
  expect(fewer.claims[0]).toBeLessThan(3_000)
  vi.useRealTimers()

  const more = await dozingBeside(23, 0.5)
  more.doze.notified()
  more.left(1_000)
  await more.pass(20_000)
  expect(more.claims).toEqual([2_000])
})

test('a fleet that is there is counted twice or so for each answer, and never for a short wait', async () => {
  for (const [share, most] of [
    [0.01, 0],
    [0.1, 1],
    [0.5, 2],
    [0.99, 4],
  ] as const) {
    const { doze, counts, claims, pass } = await dozingBeside(63, share)
    await pass(60_000)
    doze.notified()
    await pass(10_000)
    expect(claims).toHaveLength(1)
    expect(counts.length).toBeLessThanOrEqual(most)
    vi.useRealTimers()
  }
})

test('what is counted while a claim is sent changes nothing any more', async () => {
  const { doze, claims, left, pass } = await dozingBeside(63, 0.99)
  doze.notified()
  left(0)
  // The count is on its way, and the claim that answers the notification finds nothing.
  vi.advanceTimersByTime(1.5 * deafMs)
  doze.answered()
  await pass(10_000)
  expect(claims).toEqual([])
  expect(doze.isDozing).toBe(true)
})

test('the first two of those that doze answer soon, however many the others are', async () => {
  for (const [before, share, claimsAt] of [
    [0, 0.5, 38],
    [0, 1, 50],
    [1, 0.5, 75],
    [1, 1, 100],
    [2, 0.5, 5_000],
    // The luckiest of draws.
    [0, 0.001, 10],
  ] as const) {
    const { doze, claims, pass } = await dozingBeside(63, share, before)
    doze.notified()
    await pass(20_000)
    expect(claims).toEqual([claimsAt])
    vi.useRealTimers()
  }
})

test('a heartbeat’s count ends a wait for others that are gone, and fills a place that was left', async () => {
  const { doze, counts, claims, pass } = await dozingBeside(63, 0.5)
  doze.notified()
  await pass(100)
  doze.seen({ others: 63, before: 1 })
  await pass(0)
  // Half-way between 50 and 100 ms, and that is over.
  expect(claims).toEqual([100])
  doze.seen({ others: 63, before: 40 })
  doze.notified()
  await pass(1_000)
  doze.seen({ others: 2, before: 1 })
  expect([claims.length, counts.length]).toEqual([2, 0])
})

test('heartbeats count for one that dozes beside too few as yet, and for no other', async () => {
  const { doze, pass, claims } = await dozingBeside(2)
  expect([doze.isDozing, doze.hasBegun]).toEqual([false, true])
  doze.seen({ others: 63, before: 20 })
  expect(doze.isDozing).toBe(true)
  doze.end()
  doze.seen({ others: 63, before: 20 })
  expect([doze.isDozing, doze.hasBegun]).toEqual([false, false])
  doze.notified()
  await pass(0)
  expect(claims).toHaveLength(1)
})
