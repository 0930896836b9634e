import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { type Collectable, collectBatchSize } from '../../../src/admin/collect.js'
import { type CollectorOptions, collectorDefaults, createCollector } from '../../../src/admin/collector.js'
import { signal } from '../../support/signal.js'

const { firstWithinMs, everyMs, soonMs } = collectorDefaults

beforeEach(() => void vi.useFakeTimers())
afterEach(() => {
  // No collector may leave one behind.
  expect(vi.getTimerCount()).toBe(0)
  vi.useRealTimers()
})

/** A collector whose batches are told, and answered as the test says; every jitter in the middle. */
function collecting(options: Partial<CollectorOptions> = {}) {
  const batches: [Collectable, number][] = []
  let answer: CollectorOptions['collectBatch'] = async () => ({ locked: true, deleted: 0 })
  const collector = createCollector({
    collectBatch: (what, olderThanMs, limit) => {
      batches.push([what, olderThanMs])
      return answer(what, olderThanMs, limit)
    },
    failedForMs: 1_000,
    archivedForMs: 2_000,
    random: () => 0.5,
    ...options,
  })
  return {
    collector,
    batches,
    answers(next: CollectorOptions['collectBatch']) {
      answer = next
    },
  }
}

test('nothing is collected in the first moments, then failed and archived jobs, then after the interval', async () => {
  const { collector, batches } = collecting()
  collector.start()
  await vi.advanceTimersByTimeAsync(firstWithinMs / 2 - 1)
  expect(batches).toEqual([])
  await vi.advanceTimersByTimeAsync(1)
  const once: [Collectable, number][] = [
    ['failed', 1_000],
    ['archived', 2_000],
  ]
  expect(batches).toEqual(once)
  await vi.advanceTimersByTimeAsync(everyMs - 1)
  expect(batches).toEqual(once)
  await vi.advanceTimersByTimeAsync(1)
  expect(batches).toEqual([...once, ...once])
  await collector.stop()
})

test('intervals are jittered by a fifth, and the first run by all of it', async () => {
  for (const [random, firstMs, thenMs] of [
    [0, 0, everyMs * 0.8],
    [1, firstWithinMs, everyMs * 1.2],
  ] as const) {
    const { collector, batches } = collecting({ random: () => random, archivedForMs: null })
    collector.start()
    await vi.advanceTimersByTimeAsync(firstMs)
    expect(batches).toHaveLength(1)
    await vi.advanceTimersByTimeAsync(thenMs - 1)
    expect(batches).toHaveLength(1)
    await vi.advanceTimersByTimeAsync(1)
    expect(batches).toHaveLength(2)
    await collector.stop()
  }
})

test('with both kept for ever it never does anything; with one, only that one is collected', async () => {
  const never = collecting({ failedForMs: null, archivedForMs: null })
  never.collector.start()
  expect(vi.getTimerCount()).toBe(0)
  await never.collector.stop()
  const { collector, batches } = collecting({ failedForMs: null })
  collector.start()
  await vi.advanceTimersByTimeAsync(firstWithinMs + everyMs)
  expect(batches).toEqual([
    ['archived', 2_000],
    ['archived', 2_000],
  ])
  await collector.stop()
})

test('after a full batch of either kind the next comes soon; after one that is not full it does not', async () => {
  const { collector, batches, answers } = collecting()
  let full: Collectable | null = 'failed'
  answers(async (what) => ({ locked: true, deleted: what === full ? collectBatchSize : collectBatchSize - 1 }))
  collector.start()
  await vi.advanceTimersByTimeAsync(firstWithinMs / 2)
  expect(batches).toHaveLength(2)
  await vi.advanceTimersByTimeAsync(soonMs)
  expect(batches).toHaveLength(4)
  full = 'archived'
  await vi.advanceTimersByTimeAsync(soonMs)
  expect(batches).toHaveLength(6)
  full = null
  await vi.advanceTimersByTimeAsync(soonMs)
  expect(batches).toHaveLength(8)
  await vi.advanceTimersByTimeAsync(everyMs - 1)
  expect(batches).toHaveLength(8)
  await collector.stop()
})

test('where another collector is at work, it is left to that one', async () => {
  const { collector, batches, answers } = collecting()
  answers(async () => ({ locked: false, deleted: 0 }))
  collector.start()
  await vi.advanceTimersByTimeAsync(firstWithinMs)
  expect(batches).toHaveLength(2)
  await collector.stop()
})

test('an error is swallowed: the other kind has its turn, and the next run comes as usual', async () => {
  const { collector, batches, answers } = collecting()
  answers(async () => {
    throw new Error('no')
  })
  collector.start()
  await vi.advanceTimersByTimeAsync(firstWithinMs / 2 + everyMs)
  expect(batches).toHaveLength(4)
  // Also one that is thrown at once.
  answers(() => {
    throw new Error('no')
  })
  await vi.advanceTimersByTimeAsync(everyMs)
  expect(batches).toHaveLength(6)
  await collector.stop()
})

test('one statement at a time: a slow one holds up the other kind and the next run', async () => {
  const { collector, batches, answers } = collecting()
  const slow = signal<{ locked: boolean; deleted: number }>()
  answers(() => slow.promise)
  collector.start()
  await vi.advanceTimersByTimeAsync(firstWithinMs + 5 * everyMs)
  expect(batches).toEqual([['failed', 1_000]])
  slow.resolve({ locked: true, deleted: 0 })
  await vi.advanceTimersByTimeAsync(0)
  expect(batches).toHaveLength(2)
  await collector.stop()
})

test('stop waits for the statement in flight, and sends no other', async () => {
  const { collector, batches, answers } = collecting()
  const slow = signal<{ locked: boolean; deleted: number }>()
  answers(() => slow.promise)
  collector.start()
  await vi.advanceTimersByTimeAsync(firstWithinMs)
  let isStopped = false
  const stopped = collector.stop().then(() => {
    isStopped = true
  })
  await vi.advanceTimersByTimeAsync(everyMs)
  expect(isStopped).toBe(false)
  slow.resolve({ locked: true, deleted: collectBatchSize })
  await stopped
  expect(batches).toEqual([['failed', 1_000]])
  expect(vi.getTimerCount()).toBe(0)
})

test('stopped and started again, also while the old statement runs, it has one timer and one statement', async () => {
  const { collector, batches, answers } = collecting({ archivedForMs: null })
  await collector.stop()
  const slow = signal<{ locked: boolean; deleted: number }>()
  answers(() => slow.promise)
  collector.start()
  await vi.advanceTimersByTimeAsync(firstWithinMs)
  void collector.stop()
  collector.start()
  await vi.advanceTimersByTimeAsync(firstWithinMs)
  expect(batches).toHaveLength(1)
  answers(async () => ({ locked: true, deleted: 0 }))
  slow.resolve({ locked: true, deleted: 0 })
  await vi.advanceTimersByTimeAsync(0)
  expect(batches).toHaveLength(2)
  expect(vi.getTimerCount()).toBe(1)
  await vi.advanceTimersByTimeAsync(everyMs)
  expect(batches).toHaveLength(3)
  await collector.stop()
})

test('a batch that was too much for its time is repeated soon for half as many rows, until it fits', async () => {
  const { collector, answers } = collecting({ archivedForMs: null })
  const limits: number[] = []
  answers(async (_what, _olderThanMs, limit) => {
    limits.push(limit)
    if (limit > 300) throw Object.assign(new Error('canceling statement'), { code: '57014' })
    return { locked: true, deleted: 0 }
  })
  collector.start()
  await vi.advanceTimersByTimeAsync(firstWithinMs)
  for (let rounds = 0; rounds < 2; rounds += 1) await vi.advanceTimersByTimeAsync(soonMs)
  expect(limits).toEqual([1_000, 500, 250])
  // It was quick, so the next one takes twice as many.
  await vi.advanceTimersByTimeAsync(everyMs)
  expect(limits).toEqual([1_000, 500, 250, 500, 250])
  await collector.stop()
})

test('what has a time of its own is collected also where all else is kept for ever', async () => {
  const { collector, batches } = collecting({ failedForMs: null, archivedForMs: null, always: ['expired', 'keys'] })
  collector.start()
  await vi.advanceTimersByTimeAsync(firstWithinMs)
  expect(batches).toEqual([
    ['expired', 0],
    ['keys', 0],
  ])
  await collector.stop()
})
