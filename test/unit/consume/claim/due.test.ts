import { expect, onTestFinished, test, vi } from 'vitest'
import { createDueTimer, type DueTimerParts } from '../../../../src/consume/claim/due.js'
import { signal } from '../../../support/signal.js'

type Promotion = Awaited<ReturnType<DueTimerParts['promote']>>

/** A timer on fake time, whose promotions the test answers. */
function dueTimerUnderTest() {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  let waiting = true
  let wakes = 0
  const promotions: ((answer: Promotion) => void)[] = []
  const due = createDueTimer({
    isWaiting: () => waiting,
    wake: () => {
      wakes += 1
    },
    promote: () => {
      const answer = signal<Promotion>()
      promotions.push(answer.resolve)
      return answer.promise
    },
    onError: (error) => expect.unreachable(error.message),
    now: () => performance.now(),
  })
  return {
    due,
    promotions,
    get wakes() {
      return wakes
    },
    busy: () => {
      waiting = false
    },
    pass: (ms: number) => vi.advanceTimersByTimeAsync(ms),
  }
}

const full = { dueInMs: 'unknown' } as const

test('what is due is promoted when it is, and then the consumer is woken', async () => {
  const it = dueTimerUnderTest()
  it.due.claimed({ dueInMs: 500.4 })
  await it.pass(500)
  expect(it.promotions).toHaveLength(0)
  await it.pass(1)
  expect(it.promotions).toHaveLength(1)
  expect([it.wakes, it.due.isPromoting]).toEqual([0, true])
  it.promotions[0]?.({ promoted: 1, dueInMs: null })
  await it.pass(0)
  expect([it.wakes, it.due.isPromoting]).toEqual([1, false])
})

test('a due time further away than the longest timer is waited for all the same', async () => {
  const it = dueTimerUnderTest()
  const days = 60 * 86_400_000
  it.due.claimed({ dueInMs: days })
  await it.pass(days - 1)
  expect(it.promotions).toHaveLength(0)
  await it.pass(2)
  expect(it.promotions).toHaveLength(1)
})

test('a busy consumer promotes when the nearest is due, and within a second of a full claim in any case', async () => {
  const it = dueTimerUnderTest()
  it.due.claimed({ dueInMs: 300 })
  it.busy()
  await it.pass(301)
  expect(it.promotions).toHaveLength(1)
  it.promotions[0]?.({ promoted: 0, dueInMs: null })
  await it.pass(5_000)
  expect(it.promotions).toHaveLength(1)
  it.due.claimed(full)
  await it.pass(1_001)
  expect(it.promotions).toHaveLength(2)
})

test('a due job that a claim tells of is promoted at once', () => {
  const it = dueTimerUnderTest()
  it.due.claimed({ dueInMs: -1 })
  expect(it.promotions).toHaveLength(1)
})

test('where a due job is passed over, a claim that tells of it starts no promotion at once', async () => {
  const it = dueTimerUnderTest()
  it.due.claimed({ dueInMs: -1 })
  it.promotions[0]?.({ promoted: 0, dueInMs: 800 })
  await it.pass(0)
  it.due.claimed({ dueInMs: -1 })
  expect(it.due.isPromoting).toBe(false)
  await it.pass(800)
  expect(it.promotions).toHaveLength(2)
})

test('due jobs that cannot be promoted are tried again, ever more seldom, and no claim puts that off', async () => {
  const it = dueTimerUnderTest()
  const tries: number[] = []
  for (let second = 0; second < 20; second += 1) {
    // Claims come all the while, and each says that a row is due that it could not take.
    for (let n = 0; n < 10; n += 1) {
      it.due.claimed({ dueInMs: -5 })
      await it.pass(100)
      for (const answer of it.promotions.splice(0)) {
        tries.push(second)
        answer({ promoted: 0, dueInMs: -5 })
      }
    }
  }
  expect(tries.length).toBeLessThan(32)
  expect(tries.at(-1)).toBeGreaterThan(17)
})

test('what a claim said since a promotion was sent stands, unless the promotion knows something sooner', async () => {
  for (const { answer, firesAt } of [
    { answer: null, firesAt: 200 },
    { answer: 900, firesAt: 200 },
    { answer: 50, firesAt: 50 },
  ]) {
    const it = dueTimerUnderTest()
    it.due.claimed({ dueInMs: -1 })
    it.due.claimed({ dueInMs: 200 })
    it.promotions[0]?.({ promoted: 0, dueInMs: answer })
    await it.pass(firesAt - 1)
    expect(it.promotions, String(answer)).toHaveLength(1)
    await it.pass(2)
    expect(it.promotions, String(answer)).toHaveLength(2)
  }
})

test('a due job that is locked is tried for again also after a claim during a promotion', async () => {
  const it = dueTimerUnderTest()
  it.due.claimed({ dueInMs: -5 })
  expect(it.promotions).toHaveLength(1)
  it.due.claimed({ dueInMs: -11 })
  it.promotions[0]?.({ promoted: 0, dueInMs: -10.5 })
  await it.pass(2_000)
  expect(it.promotions).toHaveLength(2)
})

test('full claims do not put a locked due job’s next try forward', async () => {
  const it = dueTimerUnderTest()
  it.busy()
  it.due.claimed({ dueInMs: -1 })
  it.promotions[0]?.({ promoted: 0, dueInMs: -2 })
  await it.pass(1)
  for (let n = 0; n < 100; n += 1) it.due.claimed(full)
  expect(it.promotions).toHaveLength(1)
  await it.pass(10)
  expect(it.promotions).toHaveLength(2)
})

test('a stop waits for the promotion in flight, and nothing fires after it', async () => {
  const it = dueTimerUnderTest()
  it.due.claimed({ dueInMs: -1 })
  let stopped = false
  const stopping = it.due.stop().then(() => {
    stopped = true
  })
  await it.pass(10)
  expect(stopped).toBe(false)
  it.promotions[0]?.({ promoted: 1_000, dueInMs: -1 })
  await stopping
  await it.pass(60_000)
  expect(it.promotions).toHaveLength(1)
})
