import { expect, onTestFinished, test, vi } from 'vitest'
import { createThinning } from '../../src/thinning.js'

function burstOf(): { lines: string[]; tell(kind: string, count: number): void; end(): void } {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const lines: string[] = []
  const thinning = createThinning()
  let made = 0
  return {
    lines,
    tell(kind, count) {
      for (let n = 0; n < count; n += 1) {
        made += 1
        const line = `${kind} ${made}`
        thinning.tell(
          kind,
          (text) => void lines.push(text),
          () => line,
        )
      }
    },
    end: thinning.end,
  }
}

test('few lines are told one by one, second after second', () => {
  const { lines, tell } = burstOf()
  for (let second = 0; second < 10; second += 1) {
    tell('a', 5)
    vi.advanceTimersByTime(1_000)
  }
  expect(lines).toHaveLength(50)
  expect(lines.at(-1)).toBe('a 50')
})

test('a burst is told by its first lines, and by a sum a second later; then all is as before', () => {
  const { lines, tell } = burstOf()
  tell('a', 1_000)
  tell('b', 1)
  expect(lines).toEqual(['a 1', 'a 2', 'a 3', 'a 4', 'a 5', 'b 1001'])
  vi.advanceTimersByTime(1_000)
  expect(lines.slice(6)).toEqual(['995 more of these; the last: a 1000'])
  vi.advanceTimersByTime(10_000)
  tell('a', 2)
  expect(lines.slice(7)).toEqual(['a 1002', 'a 1003'])
})

test('a burst that goes on makes a sum after 1, 2, 4 … seconds, and then each minute', () => {
  const { lines, tell } = burstOf()
  for (let second = 0; second < 600; second += 1) {
    tell('a', 10)
    vi.advanceTimersByTime(1_000)
  }
  // 5 lines, sums after 1, 3, 7, 15, 31 and 63 s, and then each minute.
  expect(lines).toHaveLength(5 + 6 + 8)
})

test('the end tells what was counted, and leaves no timer', () => {
  const { lines, tell, end } = burstOf()
  tell('a', 7)
  end()
  end()
  expect(lines.slice(5)).toEqual(['2 more of these; the last: a 7'])
  expect(vi.getTimerCount()).toBe(0)
})
