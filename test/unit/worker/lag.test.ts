import { afterEach, expect, test, vi } from 'vitest'
import { createLag } from '../../../src/worker/lag.js'

afterEach(() => {
  vi.useRealTimers()
})

/** `block`: time passes in which no timer fires, and those that are due then fire. */
function underTest() {
  vi.useFakeTimers()
  let blockedMs = 0
  const told: (number | 'free')[] = []
  const lag = createLag({
    onLag: (ms) => told.push(ms),
    onFree: () => told.push('free'),
    now: () => Date.now() + blockedMs,
  })
  lag.start()
  return {
    lag,
    told,
    block(ms: number) {
      blockedMs += ms
    },
  }
}

test('timers that come on time, or a little late, say nothing', () => {
  const { lag, told, block } = underTest()
  vi.advanceTimersByTime(2_000)
  block(900)
  vi.advanceTimersByTime(2_000)
  expect(told).toEqual([])
  expect(lag.isLagging).toBe(false)
  lag.stop()
})

test('a block of more than a second is told once, and lasts until a tick comes on time', () => {
  const { lag, told, block } = underTest()
  block(3_000)
  // The late timer has not fired yet: whoever asks is told all the same.
  expect(lag.isLagging).toBe(true)
  vi.advanceTimersByTime(500)
  expect(told).toEqual([3_000])
  expect(lag.isLagging).toBe(true)
  vi.advanceTimersByTime(500)
  expect(told).toEqual([3_000, 'free'])
  expect(lag.isLagging).toBe(false)
  lag.stop()
})

test('a second block in the next tick is told as well, and nothing is free in between', () => {
  const { lag, told, block } = underTest()
  block(3_000)
  vi.advanceTimersByTime(500)
  block(2_000)
  vi.advanceTimersByTime(500)
  expect(told).toEqual([3_000, 2_000])
  expect(lag.isLagging).toBe(true)
  lag.stop()
})

test('stopped it leaves no timer, and does not lag', () => {
  const { lag, block } = underTest()
  lag.stop()
  block(10_000)
  expect(lag.isLagging).toBe(false)
  expect(vi.getTimerCount()).toBe(0)
})
