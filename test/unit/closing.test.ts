import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createClosing } from '../../src/closing.js'
import type { StopOptions } from '../../src/options.js'
import { signal } from '../support/signal.js'

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setImmediate', 'performance'] })
})
afterEach(() => {
  vi.useRealTimers()
})

const usual = { graceMs: 1_000, abortMs: 500 } as const
const byForce = { graceMs: 0, abortMs: 0 } as const

/** A closing whose consumers, worker and database end when the test says so. All times in ms after the start. */
function closingUnderTest(given: { readonly consumers?: number } = {}) {
  const from = performance.now()
  const stops = signal<number>()
  const settled = signal()
  const databaseEnds = signal()
  const asked: (StopOptions | undefined)[] = []
  /** By when the database was told to end. */
  const endsBy: number[] = []
  const told: string[] = []
  const closing = createClosing({
    times: usual,
    consumers: {
      isEmpty: given.consumers === 0,
      isAnyPresent: false,
      stop(times) {
        asked.push(times)
        return stops.promise
      },
    },
    worker: { settled: () => settled.promise, linger: async () => {} },
    database: {
      end(deadlineAt = Number.NaN) {
        endsBy.push(Math.round(deadlineAt - from))
        return databaseEnds.promise
      },
    },
    onEnding: ({ message }) => told.push(`ending: ${message}`),
    onEnded: ({ message }) => told.push(`ended: ${message}`),
    onOver: () => told.push('over'),
  })
  const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms)
  return {
    closing,
    asked,
    endsBy,
    told,
    settled,
    databaseEnds,
    pass,
    /** The consumers have stopped now, by their own deadline in so many ms. */
    stopped: (inMs: number) => stops.resolve(performance.now() + inMs),
  }
}

test('each phase comes when the one before it is over, and refuses what it should', async () => {
  const { closing, endsBy, told, pass, stopped, settled, databaseEnds, asked } = closingUnderTest()
  const seen = () => ({ isClosing: closing.isClosing, isShut: closing.isShut })
  expect(seen()).toEqual({ isClosing: false, isShut: false })
  const closed = closing.close()
  expect(asked).toEqual([undefined])
  expect(seen()).toEqual({ isClosing: true, isShut: false })
  await pass(100)
  expect(seen()).toEqual({ isClosing: true, isShut: false })
  stopped(0)
  await pass(100)
  expect(seen()).toEqual({ isClosing: true, isShut: true })
  expect(told).toEqual([])
  settled.resolve()
  await pass(0)
  expect(told).toEqual(['ending: this Bugle instance is closed'])
  // What is left of the usual times, and half a second more.
  expect(endsBy).toEqual([2_000])
  databaseEnds.resolve()
  await closed
  expect(told.slice(1)).toEqual(['ended: this Bugle instance is closed', 'over'])
})

test('without consumers it is shut from its call on', () => {
  const { closing } = closingUnderTest({ consumers: 0 })
  void closing.close()
  expect(closing.isShut).toBe(true)
})

test('a worker that never settles is waited for no longer than the end may take', async () => {
  const { closing, endsBy, pass, stopped } = closingUnderTest()
  void closing.close()
  stopped(1_500)
  await pass(1_990)
  expect(endsBy).toEqual([])
  await pass(20)
  expect(endsBy).toEqual([2_000])
})

const phases = ['while consumers stop', 'while the worker settles', 'while the database ends'] as const
for (const phase of phases) {
  test(`a second call shortens the first ${phase}, and a third without times changes nothing`, async () => {
    const { closing, endsBy, pass, stopped, settled, asked } = closingUnderTest()
    void closing.close({ graceMs: 60_000, abortMs: 60_000 })
    await pass(100)
    if (phase !== 'while consumers stop') stopped(-50)
    if (phase === 'while the database ends') settled.resolve()
    await pass(0)
    // No more than statements may take that are on their way.
    expect(endsBy).toEqual(phase === 'while the database ends' ? [15_600] : [])
    expect(closing.isShut).toBe(phase !== 'while consumers stop')
    void closing.close(byForce)
    void closing.close()
    await pass(100)
    if (phase === 'while consumers stop') stopped(-50)
    await pass(1_000)
    expect(asked).toEqual([{ graceMs: 60_000, abortMs: 60_000 }, byForce, undefined])
    const shortened = { 'while consumers stop': 250, 'while the worker settles': 600, 'while the database ends': 600 }
    expect(endsBy.at(-1)).toBeGreaterThanOrEqual(shortened[phase])
    expect(endsBy.at(-1)).toBeLessThanOrEqual(shortened[phase] + 400)
  })
}

test('what fails at the end is passed on, and the log ends all the same', async () => {
  const { closing, told, stopped, settled, databaseEnds } = closingUnderTest()
  const closed = closing.close()
  stopped(0)
  settled.resolve()
  databaseEnds.reject(new Error('broken'))
  await expect(closed).rejects.toThrow('broken')
  expect(told).toEqual(['ending: this Bugle instance is closed', 'over'])
})
