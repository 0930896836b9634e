import { expect, onTestFinished, test, vi } from 'vitest'
import { createThinning } from '../../src/thinning.js'

function burstOf(): { lines: string[]; tell(kind: string, count: number): void; end(): void } {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const lines: string[] = []
  const thinning = createThinning()
  onTestFinished(() => thinning.end())
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

test('lines two minutes apart are told one by one, whatever their number', () => {
  const { lines, tell } = burstOf()
  for (let time = 0; time < 10; time += 1) {
    tell('a', 1)
    vi.advanceTimersByTime(130_000)
  }
  expect(lines).toHaveLength(10)
})

test.each([
  ['five per second', 5, 1_000],
  ['one per 10 seconds', 1, 10_000],
])('a steady trickle of %s becomes sums', (_, count, everyMs) => {
  const { lines, tell } = burstOf()
  for (let ms = 0; ms < 3_600_000; ms += everyMs) {
    tell('a', count)
    vi.advanceTimersByTime(everyMs)
  }
  // 5 lines, 6 sums within a minute, and then one per minute.
  expect(lines.length).toBeLessThan(5 + 6 + 60)
})

test('what was counted is said when the process exits', () => {
  const before = process.listeners('exit')
  const { lines, tell, end } = burstOf()
  const other = burstOf()
  tell('a', 5)
  expect(process.listeners('exit')).toEqual(before)
  tell('a', 2)
  other.tell('b', 7)
  const [exit, ...more] = process.listeners('exit').filter((one) => !before.includes(one))
  expect(more).toEqual([])
  exit?.(0)
  expect([lines.slice(5), other.lines.slice(5)]).toEqual([
    ['2 more of these; the last: a 7'],
    ['2 more of these; the last: b 7'],
  ])
  end()
  other.end()
  expect(process.listeners('exit')).toEqual(before)
})

test('a burst is told by its first lines, and by a sum a second later; then all is as before', () => {
  const { lines, tell } = burstOf()
  tell('a', 1_000)
  tell('b', 1)
  expect(lines).toEqual(['a 1', 'a 2', 'a 3', 'a 4', 'a 5', 'b 1001'])
  vi.advanceTimersByTime(1_000)
  expect(lines.slice(6)).toEqual(['995 more of these; the last: a 1000'])
  vi.advanceTimersByTime(130_000)
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
