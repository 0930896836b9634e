import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createStop, tidyUpBy } from '../../../src/consume/stop.js'
import type { ResolvedStopTimes } from '../../../src/options.js'
import { signal } from '../../support/signal.js'

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setImmediate', 'performance'] })
})
afterEach(() => {
  vi.useRealTimers()
})

/** A stop whose claim and runs end when the test says so; `at`: when which phase came, in ms after the start. */
function stopUnderTest() {
  const claims = signal()
  const runs = signal()
  const at: Record<string, number> = {}
  const requests: [graceMs: number, forced: boolean][] = []
  const from = performance.now()
  const mark = (name: string) => () => {
    at[name] ??= performance.now() - from
  }
  const stop = createStop({
    endClaiming: () => {
      mark('claiming ends')()
      return claims.promise
    },
    runsOver: () => runs.promise,
    abortRuns: mark('abort'),
    onRequest: (graceMs, forced) => requests.push([graceMs, forced]),
    now: () => performance.now(),
  })
  return {
    claims,
    runs,
    at,
    requests,
    stop,
    request: (times: ResolvedStopTimes) => void stop.request(times).then(mark('over')),
    pass: (ms: number) => vi.advanceTimersByTimeAsync(ms),
  }
}

test('with nothing to wait for it is over at once, and nothing is aborted', async () => {
  const { claims, runs, at, request, pass, stop } = stopUnderTest()
  expect(stop.isStopping).toBe(false)
  claims.resolve()
  runs.resolve()
  request({ graceMs: 15_000, abortMs: 5_000 })
  expect(stop.isStopping).toBe(true)
  await pass(1)
  expect(at).toEqual({ 'claiming ends': 0, over: 0 })
})

test('by force: what is over already is not aborted; what is not is aborted and given up in one go', async () => {
  const over = stopUnderTest()
  over.claims.resolve()
  over.runs.resolve()
  over.request({ graceMs: 0, abortMs: 0 })
  const busy = stopUnderTest()
  busy.request({ graceMs: 0, abortMs: 0 })
  await busy.pass(1)
  expect(over.at).toEqual({ 'claiming ends': 0, over: 0 })
  expect(busy.at.abort).toBe(0)
  expect(busy.at.over).toBeLessThanOrEqual(1)
  expect(busy.requests).toEqual([[0, true]])
})

test('grace, abort, deadline: each at its time, whatever never ends', async () => {
  const { at, request, pass, requests, stop } = stopUnderTest()
  request({ graceMs: 1_000, abortMs: 500 })
  await pass(5_000)
  expect(at).toEqual({ 'claiming ends': 0, abort: 1_000, over: 1_500 })
  expect(requests).toEqual([[1_000, false]])
  expect(stop.deadlineAt).toBeLessThanOrEqual(performance.now())
})

test('a claim that is never answered is not waited for longer than handlers are', async () => {
  const { at, runs, request, pass } = stopUnderTest()
  runs.resolve()
  request({ graceMs: 1_000, abortMs: 500 })
  await pass(5_000)
  expect(at.over).toBe(1_500)
})

test('runs that end in the grace, or after the abort, end it then', async () => {
  const inGrace = stopUnderTest()
  const afterAbort = stopUnderTest()
  for (const { claims, request } of [inGrace, afterAbort]) {
    claims.resolve()
    request({ graceMs: 1_000, abortMs: 500 })
  }
  await inGrace.pass(400)
  inGrace.runs.resolve()
  await inGrace.pass(800)
  afterAbort.runs.resolve()
  await inGrace.pass(5_000)
  expect(inGrace.at).toEqual({ 'claiming ends': 0, over: 400 })
  expect(afterAbort.at).toEqual({ 'claiming ends': 0, abort: 1_000, over: 1_200 })
})

test('a second request shortens each phase, and never lengthens one', async () => {
  const { at, request, pass, requests } = stopUnderTest()
  request({ graceMs: 1_000, abortMs: 500 })
  await pass(100)
  request({ graceMs: 60_000, abortMs: 60_000 })
  request({ graceMs: 300, abortMs: 60_000 })
  await pass(400)
  expect(at.abort).toBe(400)
  request({ graceMs: 60_000, abortMs: 100 })
  await pass(5_000)
  expect(at).toEqual({ 'claiming ends': 0, abort: 400, over: 500 })
  expect(requests).toEqual([
    [1_000, false],
    [300, false],
    [0, true],
  ])
})

test('Infinity waits until it is shortened; a longer time than a timer holds is waited for as well', async () => {
  const { at, request, pass } = stopUnderTest()
  request({ graceMs: Number.POSITIVE_INFINITY, abortMs: Number.POSITIVE_INFINITY })
  await pass(10_000_000)
  expect(at).toEqual({ 'claiming ends': 0 })
  request({ graceMs: 3_000_000_000, abortMs: 0 })
  await pass(2_999_000_000)
  expect(at).toEqual({ 'claiming ends': 0 })
  await pass(2_000_000)
  expect(at.over).toBeCloseTo(3_010_000_000, -1)
})

test('tidying up: a little when the time is over, hardly any after that; else what is left, and never for long', () => {
  expect(tidyUpBy(900, 1_000, 300)).toBe(1_200)
  expect(tidyUpBy(100, 1_000, 300)).toBe(1_050)
  expect(tidyUpBy(5_000, 1_000, 300)).toBe(5_300)
  expect(tidyUpBy(Number.POSITIVE_INFINITY, 1_000, 500)).toBe(16_500)
})
