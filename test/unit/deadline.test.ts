import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { expect, onTestFinished, test, vi } from 'vitest'
import { deadline, whileAlive } from '../../src/deadline.js'

test('no answer in time is an error with the code DEADLINE', async () => {
  await expect(deadline(new Promise(() => {}), 1, 'waiting')).rejects.toMatchObject({ code: 'DEADLINE' })
})

test('an answer that has arrived counts, also when the event loop was blocked past the deadline', async () => {
  const other = spawn(process.execPath, ['-e', 'process.stdin.pipe(process.stdout)'])
  other.stdin.write('ready')
  await once(other.stdout, 'data')
  const answer = deadline(once(other.stdout, 'data'), 20, 'the echo')
  other.stdin.write('x')
  await new Promise((resolve) => setImmediate(resolve))
  // The other process answers while this one computes.
  const until = performance.now() + 500
  while (performance.now() < until);
  await expect(answer).resolves.toHaveLength(1)
  other.kill()
})

test('with signs of life the time begins anew; without one it is over, and so it is with the end', async () => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  let signs = 0
  let ended = ''
  const slow = whileAlive(new Promise(() => {}), 1_000, 'slow', () => signs)
  slow.catch((error) => {
    ended = error.message
  })
  for (let answers = 0; answers < 10; answers += 1) {
    await vi.advanceTimersByTimeAsync(900)
    signs += 1
  }
  expect(ended).toBe('')
  await vi.advanceTimersByTimeAsync(900)
  expect(ended).toBe('')
  await vi.advanceTimersByTimeAsync(500)
  expect(ended).toBe('slow: no answer within 1000 ms')
  let looks = 0
  const counted = () => {
    looks += 1
    return signs
  }
  expect(await whileAlive(Promise.resolve('there'), 1_000, 'quick', counted)).toBe('there')
  await expect(whileAlive(Promise.reject(new Error('no')), 1_000, 'refused', counted)).rejects.toThrow('no')
  const looksAtTheEnd = looks
  await vi.advanceTimersByTimeAsync(5_000)
  expect(looks).toBe(looksAtTheEnd)
})
