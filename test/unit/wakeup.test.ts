import { expect, onTestFinished, test, vi } from 'vitest'
import { createWaiters, createWakeup } from '../../src/wakeup.js'

test('a change before the wait, or during it, ends it; a look without a change does not', async () => {
  const { look, wait } = createWakeup()
  let isOver = true
  await wait(() => isOver)
  isOver = false
  let ended = false
  const waited = wait(() => isOver).then(() => {
    ended = true
  })
  look()
  await Promise.resolve()
  expect(ended).toBe(false)
  isOver = true
  look()
  await waited
  // Nobody waits any more.
  look()
})

test('a wait with a time ends then, and leaves no timer where it ends before', async () => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const { look, wait } = createWakeup()
  const ends: string[] = []
  await wait(() => false, 0)
  void wait(() => false, 10).then(() => ends.push('time'))
  await vi.advanceTimersByTimeAsync(9)
  expect(ends).toEqual([])
  await vi.advanceTimersByTimeAsync(1)
  expect(ends).toEqual(['time'])
  let isOver = false
  void wait(() => isOver, 10).then(() => ends.push('change'))
  isOver = true
  look()
  await vi.advanceTimersByTimeAsync(0)
  expect(ends).toEqual(['time', 'change'])
  // The timer of a wait that is over does not end the next one.
  void wait(() => false, 15).then(() => ends.push('later'))
  await vi.advanceTimersByTimeAsync(14)
  expect(ends).toEqual(['time', 'change'])
  await vi.advanceTimersByTimeAsync(1)
  expect(ends).toEqual(['time', 'change', 'later'])
})

test('all that wait are told once; who begins to wait while they are told waits for the next time', async () => {
  const { wait, tellAll } = createWaiters()
  tellAll()
  const told: string[] = []
  void wait().then(() => told.push('first'))
  void wait().then(() => {
    told.push('second')
    void wait().then(() => told.push('third'))
  })
  tellAll()
  await new Promise((resolve) => setImmediate(resolve))
  expect(told).toEqual(['first', 'second'])
  tellAll()
  await new Promise((resolve) => setImmediate(resolve))
  expect(told).toEqual(['first', 'second', 'third'])
})
