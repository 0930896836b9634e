import { expect, onTestFinished, test, vi } from 'vitest'
import { createPassedOver } from '../../../../src/consume/claim/passed-over.js'

function underTest() {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const wake = vi.fn()
  return { wake, passedOver: createPassedOver({ wake, now: () => performance.now() }) }
}

test('a job is passed over for a second, then twice as long with each refusal, and at most for a minute', () => {
  const { passedOver, wake } = underTest()
  const waits: number[] = []
  for (let n = 0; n < 9; n += 1) {
    waits.push(passedOver.add('7'))
    const inMs = passedOver.nextInMs ?? 0
    vi.advanceTimersByTime(inMs - 1)
    expect(passedOver.ids).toEqual(['7'])
    expect(wake).toHaveBeenCalledTimes(n)
    vi.advanceTimersByTime(2)
    expect([passedOver.ids, passedOver.nextInMs]).toEqual([[], null])
    expect(wake).toHaveBeenCalledTimes(n + 1)
  }
  expect(waits).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000])
})

test('one that is not refused again for as long begins anew', () => {
  const { passedOver } = underTest()
  expect([passedOver.add('7'), passedOver.add('7')]).toEqual([1_000, 2_000])
  vi.advanceTimersByTime(4_001)
  expect(passedOver.ids).toEqual([])
  expect(passedOver.add('7')).toBe(1_000)
})

test('each has its own time, and the consumer is woken at each end', () => {
  const { passedOver, wake } = underTest()
  passedOver.add('7')
  vi.advanceTimersByTime(400)
  passedOver.add('8')
  expect(passedOver.ids).toEqual(['7', '8'])
  vi.advanceTimersByTime(602)
  expect([passedOver.ids, wake.mock.calls.length]).toEqual([['8'], 1])
  vi.advanceTimersByTime(402)
  expect([passedOver.ids, wake.mock.calls.length]).toEqual([[], 2])
})

test('where a thousand are passed over it is no matter of single jobs any more', () => {
  const { passedOver } = underTest()
  for (let id = 1; id < 1_000; id += 1) passedOver.add(String(id))
  expect(passedOver.isFull).toBe(false)
  passedOver.add('1000')
  expect(passedOver.isFull).toBe(true)
})
