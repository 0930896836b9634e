import { expect, onTestFinished, test, vi } from 'vitest'
import { watchLongRuns } from '../../../../src/consume/run/long-runs.js'
import type { Run } from '../../../../src/consume/run/runs.js'

const minuteMs = 60_000

/** As far as the watch looks at it. */
function run(id: string, claimedAt: number, isUnlimited: boolean): Run {
  return { claimed: { job: { id, queue: 'q' } }, claimedAt, isUnlimited } as Run
}

function watched(all: Run[]): { told: string[]; end(): void } {
  vi.useFakeTimers({ now: 0 })
  onTestFinished(() => void vi.useRealTimers())
  const told: string[] = []
  const end = watchLongRuns({ runs: () => all, now: () => Date.now(), tell: (one) => void told.push(one) })
  return { told, end }
}

test('a run of ten minutes without a limit is told, once for the consumer', () => {
  const all = [run('1', 0, false), run('2', 5 * minuteMs, true)]
  const { told } = watched(all)
  vi.advanceTimersByTime(14 * minuteMs)
  expect(told).toEqual([])
  all.push(run('3', 0, true))
  vi.advanceTimersByTime(minuteMs)
  expect(told).toEqual([expect.stringMatching(/^job 2 of "q" has run for ten minutes and has no timeoutMs: /)])
  vi.advanceTimersByTime(60 * minuteMs)
  expect(told).toHaveLength(1)
  expect(vi.getTimerCount()).toBe(0)
})

test('short runs, and runs with a time-out, are not told; the end leaves no timer', () => {
  const { told, end } = watched([run('1', 0, false)])
  vi.advanceTimersByTime(60 * minuteMs)
  expect(told).toEqual([])
  end()
  expect(vi.getTimerCount()).toBe(0)
})
