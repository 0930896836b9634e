import { expect, test } from 'vitest'
import { createFifo } from '../../../src/database/fifo.js'

test('what went in first comes out first, but for what was taken out of the middle', () => {
  const fifo = createFifo<number>()
  const expected: number[] = []
  const shift = (): void => {
    expect(fifo.first).toBe(expected[0])
    expect(fifo.shift()).toBe(expected.shift())
  }
  shift()
  for (let n = 0; n < 500; n += 1) {
    fifo.push(n)
    expected.push(n)
    if (n % 3 === 0) shift()
    if (n % 7 === 0) {
      const middle = expected[Math.floor(expected.length / 2)]
      if (middle !== undefined) fifo.remove(middle)
      expected.splice(Math.floor(expected.length / 2), 1)
    }
    fifo.remove(-1)
    expect(fifo.length).toBe(expected.length)
  }
  while (expected.length > 0) shift()
  shift()
  expect(fifo.length).toBe(0)
})
