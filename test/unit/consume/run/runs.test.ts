import { AsyncResource } from 'node:async_hooks'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createRuns } from '../../../../src/consume/run/runs.js'
import { testJob } from '../../../../src/testing/handler.js'

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
})
afterEach(() => {
  vi.useRealTimers()
})

function runUnderTest() {
  let at = 1_000
  const timeouts: number[] = []
  const runs = createRuns({
    now: () => at,
    newScope: () => new AsyncResource('TestRun'),
    onTimeout: (_run, timeoutMs) => void timeouts.push(timeoutMs),
    onStuck: () => {},
    onAcked: () => {},
  })
  const [run] = runs.add([{ job: testJob(1), lease: '7', workerId: '1', bytes: 1, timeoutMs: null, waitMs: 0 }])
  if (run === undefined) throw new Error('there is no run')
  return {
    runs,
    run,
    timeouts,
    /** Time passes; the event loop is blocked for `blockedMs` of it at the end, so timers do not fire. */
    pass(ms: number, { blockedMs = 0 } = {}): void {
      at += ms
      vi.advanceTimersByTime(ms - blockedMs)
    },
  }
}

test('the timer aborts a run that goes on, and the end adds nothing to it', () => {
  const { run, timeouts, pass } = runUnderTest()
  run.begin(30)
  pass(31)
  expect(run.signal.reason).toMatchObject({ code: 'TIMEOUT' })
  run.end()
  expect(timeouts).toEqual([30])
})

test('a run that ends too late has timed out, though its timer could not fire', () => {
  const { run, timeouts, pass } = runUnderTest()
  const { signal } = run
  run.begin(30)
  pass(31, { blockedMs: 31 })
  expect(run.reason).toBeNull()
  run.end()
  expect(run.reason).toMatchObject({ code: 'TIMEOUT', message: 'job 1 was aborted: it ran for longer than 30 ms' })
  expect(signal.aborted).toBe(true)
  expect(timeouts).toEqual([30])
})

test('a run that ends in time has not, however late its end is dealt with', () => {
  const { run, timeouts, pass } = runUnderTest()
  run.begin(30)
  pass(30, { blockedMs: 30 })
  run.end()
  pass(1_000)
  expect(run.reason).toBeNull()
  expect(timeouts).toEqual([])
})

test('the first reason stands: a run that was aborted and ends too late has not timed out', () => {
  const { run, timeouts, pass } = runUnderTest()
  run.begin(30)
  run.abort('SHUTDOWN', 'its consumer stops')
  pass(1_000)
  run.end()
  expect(run.reason).toMatchObject({ code: 'SHUTDOWN' })
  expect(timeouts).toEqual([])
})

test('a run without a limit never times out', () => {
  const { run, timeouts, pass } = runUnderTest()
  run.begin(null)
  pass(1_000_000)
  run.end()
  expect([run.reason, timeouts]).toEqual([null, []])
})

test('rows are known by id and lease: as runs come and go, and one job under two leases is two runs', () => {
  const { runs } = runUnderTest()
  const ofLease = (lease: string) => ({ job: testJob(1), lease, workerId: '1', bytes: 1, timeoutMs: null, waitMs: 0 })
  const known = () => ['7', '8', '9'].filter((lease) => runs.knows('1', lease))
  expect(known()).toEqual(['7'])
  const [later, last] = runs.add([ofLease('8'), ofLease('9')])
  if (later === undefined || last === undefined) throw new Error('there are no runs')
  expect(known()).toEqual(['7', '8', '9'])
  expect(runs.remove(later)).toBe(true)
  expect(known()).toEqual(['7', '9'])
  expect(runs.remove(later)).toBe(false)
  expect(runs.all()).toHaveLength(2)
  expect(runs.knows('2', '7')).toBe(false)
})
