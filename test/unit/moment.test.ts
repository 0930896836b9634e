import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createMoment } from '../../src/moment.js'
import { signal } from '../support/signal.js'

const now = (): number => performance.now()
const never = new Promise<void>(() => {})

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setImmediate', 'performance'] })
})
afterEach(() => {
  vi.useRealTimers()
})

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms)

/** What the wait has said, and when, in ms after the start. */
function waitFor(moment: ReturnType<typeof createMoment>, promise: Promise<unknown>) {
  const from = now()
  const said: { isBefore?: boolean; at?: number; error?: unknown } = {}
  moment.before(promise).then(
    (isBefore) => Object.assign(said, { isBefore, at: now() - from }),
    (error) => Object.assign(said, { error }),
  )
  return said
}

test('it only comes nearer, and says whether it has', () => {
  const moment = createMoment(now)
  expect(moment.at).toBe(Number.POSITIVE_INFINITY)
  expect(moment.sooner(Number.POSITIVE_INFINITY)).toBe(false)
  expect(moment.sooner(500)).toBe(true)
  expect(moment.sooner(500)).toBe(false)
  expect(moment.sooner(900)).toBe(false)
  expect(moment.sooner(Number.NaN)).toBe(false)
  expect(moment.at).toBe(500)
  expect(moment.sooner(Number.NEGATIVE_INFINITY)).toBe(true)
  expect(createMoment(now, 7).at).toBe(7)
})

test('a wait ends with the promise or at the moment, whichever comes first', async () => {
  const moment = createMoment(now, now() + 1_000)
  const quick = signal()
  const slow = signal()
  const waits = [waitFor(moment, quick.promise), waitFor(moment, slow.promise), waitFor(moment, never)]
  await pass(400)
  quick.resolve()
  await pass(1_000)
  slow.resolve()
  await pass(1_000)
  expect(waits).toEqual([
    { isBefore: true, at: 400 },
    { isBefore: false, at: 1_000 },
    { isBefore: false, at: 1_000 },
  ])
  expect(vi.getTimerCount()).toBe(0)
})

test('a promise that fails before the moment fails the wait; one that fails later is nobody’s concern', async () => {
  const moment = createMoment(now, now() + 1_000)
  const early = signal()
  const late = signal()
  const waits = [waitFor(moment, early.promise), waitFor(moment, late.promise)]
  early.reject(new Error('early'))
  await pass(1_000)
  late.reject(new Error('late'))
  await pass(1)
  expect(waits).toEqual([{ error: new Error('early') }, { isBefore: false, at: 1_000 }])
})

test('what is over already is before, also when no time is left', async () => {
  const moment = createMoment(now, now() - 1)
  const waits = [waitFor(moment, Promise.resolve()), waitFor(moment, never)]
  await pass(0)
  expect(waits).toEqual([
    { isBefore: true, at: 0 },
    { isBefore: false, at: 0 },
  ])
})

test('a move during a wait ends it at the new moment, each time that it moves', async () => {
  const moment = createMoment(now)
  const wait = waitFor(moment, never)
  await pass(100)
  moment.sooner(now() + 10_000)
  moment.sooner(now() + 60_000)
  await pass(100)
  moment.sooner(now() + 300)
  await pass(299)
  expect(wait).toEqual({})
  await pass(1)
  expect(wait).toEqual({ isBefore: false, at: 500 })
})

const moves: Record<string, { move: (move: () => void) => unknown; atMs: number }> = {
  'with the call': { move: (move) => move(), atMs: 0 },
  'a microtask later': { move: (move) => Promise.resolve().then(move), atMs: 0 },
  'a turn of the loop later': { move: (move) => setImmediate(move), atMs: 0 },
  'two turns later': { move: (move) => setImmediate(() => setImmediate(move)), atMs: 0 },
  'as a timer ends': { move: (move) => setTimeout(move, 1_000), atMs: 1_000 },
}
for (const [when, { move, atMs }] of Object.entries(moves)) {
  test(`a move after the call of a wait is heard: ${when}`, async () => {
    const unset = createMoment(now)
    const set = createMoment(now, now() + 1_000)
    const waits = [waitFor(unset, never), waitFor(set, never)]
    move(() => {
      unset.sooner(now())
      set.sooner(now())
    })
    await pass(2_000)
    // This clock counts a millisecond for a turn of the loop.
    for (const wait of waits) expect(wait).toEqual({ isBefore: false, at: expect.closeTo(atMs, -1) })
  })
}

test('a wait that is over hears nothing any more', async () => {
  const moment = createMoment(now)
  const end = signal()
  const wait = waitFor(moment, end.promise)
  end.resolve()
  await pass(5)
  moment.sooner(now() + 10)
  expect(vi.getTimerCount()).toBe(0)
  await pass(20)
  expect(wait).toEqual({ isBefore: true, at: 0 })
})

test('a moment that is farther away than a timer reaches is waited for', async () => {
  const moment = createMoment(now, now() + 3_000_000_000)
  const wait = waitFor(moment, never)
  await pass(2_999_000_000)
  expect(wait).toEqual({})
  await pass(1_000_000)
  expect(wait.isBefore).toBe(false)
})
