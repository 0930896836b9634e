import { expect, test } from 'vitest'
import { createLink } from '../../../src/database/link.js'

function linkAt() {
  let at = 0
  const link = createLink(() => at)
  return {
    link,
    pass: (ms: number) => {
      at += ms
    },
  }
}

test('patience is that of a good link, or some round trips of this one', () => {
  const { link } = linkAt()
  expect(link.patienceMs(2_000)).toBe(2_000)
  link.opened(3_000)
  expect([link.patienceMs(2_000), link.patienceMs(2_000, 10), link.patienceMs(60_000)]).toEqual([9_000, 30_000, 60_000])
  link.answered(4_000)
  expect(link.patienceMs(2_000)).toBe(9_000)
  // It was busy, and is no more.
  link.answered(5)
  expect(link.patienceMs(2_000)).toBe(2_000)
})

test('each attempt to connect that ran out of time doubles the next one’s, to 20 s; a success ends that', () => {
  const { link, pass } = linkAt()
  const limits = Array.from({ length: 4 }, (_, beganAt) => {
    const ms = link.connectMs(5_000)
    pass(1)
    link.timedOut(beganAt)
    return ms
  })
  expect(limits).toEqual([5_000, 10_000, 20_000, 20_000])
  expect(link.connectMs(60_000)).toBe(60_000)
  link.opened(1)
  expect(link.connectMs(5_000)).toBe(5_000)
})

test('attempts that were under way together and ran out of time count once', () => {
  const { link, pass } = linkAt()
  pass(5_000)
  link.timedOut(0)
  link.timedOut(10)
  expect(link.connectMs(5_000)).toBe(10_000)
  pass(1)
  link.timedOut(5_000)
  expect(link.connectMs(5_000)).toBe(20_000)
})
