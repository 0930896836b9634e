import { describe, expect, test } from 'vitest'
import { type ClaimSigns, createSleepProtocol, deafMs } from '../../../../src/consume/claim/sleep.js'

/** The protocol on a clock of the test's own, with every jitter in the middle. */
function protocolAt(dozes = true, random = 0.5) {
  let time = 0
  const protocol = createSleepProtocol(
    () => time,
    () => random,
    dozes,
  )
  return {
    protocol,
    pass: (ms: number) => {
      time += ms
    },
  }
}

const empty: ClaimSigns = { asked: 10, found: 0, leftBehind: false, xmin: 100n, target: 100n, tripMs: 1 }

describe('falling asleep', () => {
  test('an empty claim without K takes K first', () => {
    expect(protocolAt().protocol.claimed(empty, false)).toEqual({ do: 'take' })
  })

  test('with K, and no older transaction running, one claim is enough', () => {
    const { protocol } = protocolAt()
    protocol.taken()
    expect(protocol.claimed(empty, true)).toEqual({ do: 'sleep' })
  })

  test('an older transaction is waited for: claims at 1 ms and doubling, until xmin reaches the first target', () => {
    const { protocol, pass } = protocolAt()
    protocol.taken()
    const held = { ...empty, xmin: 90n, target: 100n }
    expect(protocol.claimed(held, true)).toMatchObject({ do: 'claim', inMs: 1 })
    pass(1)
    // Later claims have later targets; the first is what is owed.
    expect(protocol.claimed({ ...held, target: 200n }, true)).toMatchObject({ do: 'claim', inMs: 2 })
    pass(2)
    expect(protocol.claimed({ ...empty, xmin: 99n, target: 200n }, true)).toMatchObject({ do: 'claim', inMs: 4 })
    pass(4)
    expect(protocol.claimed({ ...empty, xmin: 100n, target: 200n }, true)).toEqual({ do: 'sleep' })
  })

  test('after 100 ms looks take the place of claims, slowing to a second; two clear ones and a claim pay', () => {
    const { protocol, pass } = protocolAt()
    protocol.taken()
    const held = { ...empty, xmin: 90n, target: 100n }
    protocol.claimed(held, true)
    pass(101)
    // Later claims have later targets; a look asks for what is owed.
    expect(protocol.claimed({ ...held, target: 200n }, true)).toMatchObject({ do: 'look', target: 100n })
    const waits: number[] = []
    for (let i = 0; i < 10; i += 1) {
      const step = protocol.looked(true)
      if (step.do === 'look') waits.push(step.inMs)
    }
    expect(waits.at(-1)).toBe(1_000)
    expect(protocol.looked(false)).toMatchObject({ do: 'look', target: 100n })
    // A writer between two clear looks starts the count again.
    expect(protocol.looked(true)).toMatchObject({ do: 'look' })
    expect(protocol.looked(false)).toMatchObject({ do: 'look' })
    expect(protocol.looked(false)).toMatchObject({ do: 'claim', inMs: 0 })
    expect(protocol.claimed(held, true)).toEqual({ do: 'sleep' })
  })

  test('the debt is owed once for each taking of K, also when the consumer works in between', () => {
    const { protocol } = protocolAt()
    protocol.taken()
    const held = { ...empty, xmin: 90n, target: 100n }
    expect(protocol.claimed(held, true)).toMatchObject({ do: 'claim' })
    expect(protocol.claimed({ ...held, found: 3 }, true)).toMatchObject({ do: 'claim' })
    expect(protocol.claimed({ ...empty, xmin: 100n }, true)).toEqual({ do: 'sleep' })
    // Woken, and K kept: nothing is owed.
    expect(protocol.claimed({ ...held, found: 1 }, true)).toEqual({ do: 'sleep' })
    protocol.taken()
    expect(protocol.claimed(held, true)).toMatchObject({ do: 'claim' })
  })

  test('a row left behind is claimed again after 1 ms, doubling to 100 ms, then every second', () => {
    const { protocol } = protocolAt()
    protocol.taken()
    const waits = Array.from({ length: 10 }, () => {
      const step = protocol.claimed({ ...empty, leftBehind: true }, true)
      return step.do === 'claim' ? step.inMs : Number.NaN
    })
    expect(waits).toEqual([1, 2, 4, 8, 16, 32, 64, 100, 1_000, 1_000])
    expect(protocol.claimed(empty, true)).toEqual({ do: 'sleep' })
    expect(protocol.claimed({ ...empty, leftBehind: true }, true)).toMatchObject({ inMs: 1 })
  })

  test('a full claim is followed by another at once', () => {
    const { protocol } = protocolAt()
    protocol.taken()
    expect(protocol.claimed({ ...empty, found: 10 }, true)).toMatchObject({ do: 'claim', inMs: 0 })
  })

  test('K lost while a debt was being paid: K is taken again', () => {
    const { protocol } = protocolAt()
    protocol.taken()
    protocol.claimed({ ...empty, xmin: 90n }, true)
    expect(protocol.claimed(empty, false)).toEqual({ do: 'take' })
  })
})

describe('waking', () => {
  test('a wake-up now and then keeps K', () => {
    const { protocol, pass } = protocolAt()
    protocol.taken()
    protocol.claimed(empty, true)
    for (let i = 0; i < 50; i += 1) {
      pass(20)
      protocol.notified()
      expect(protocol.claimed({ ...empty, found: 1 }, true)).toEqual({ do: 'sleep' })
    }
  })

  test('wake-ups that come fast end in lingering without K; it ends when nothing is found', () => {
    const { protocol, pass } = protocolAt()
    protocol.taken()
    protocol.claimed(empty, true)
    let lingered = false
    for (let i = 0; i < 100 && !lingered; i += 1) {
      pass(2)
      protocol.notified()
      lingered = protocol.claimed({ ...empty, found: 1 }, true).do === 'linger'
    }
    expect(lingered).toBe(true)
    const waits: number[] = []
    for (;;) {
      const step = protocol.claimed(empty, false)
      if (step.do !== 'linger') {
        expect(step).toEqual({ do: 'take' })
        break
      }
      waits.push(step.inMs)
      pass(step.inMs)
    }
    // The timer widens while nothing is found.
    expect(waits).toEqual([...waits].sort((a, b) => a - b))
    expect(waits.reduce((sum, ms) => sum + ms, 0)).toBeGreaterThan(30)
  })

  test('after a linger that ran out there is none before the next job, however fast it went just now', () => {
    const { protocol, pass } = protocolAt()
    protocol.taken()
    protocol.claimed({ ...empty, asked: 1_000, found: 999 }, true)
    let step = protocol.claimed(empty, false)
    for (; step.do === 'linger'; step = protocol.claimed(empty, false)) pass(step.inMs)
    expect(step).toEqual({ do: 'take' })
    protocol.taken()
    expect(protocol.claimed(empty, true)).toEqual({ do: 'sleep' })
  })

  test('a linger outlasts ten empty claims, however slow they were', () => {
    const { protocol, pass } = protocolAt()
    protocol.taken()
    const busy = { ...empty, asked: 1_000, found: 999 }
    expect(protocol.claimed(busy, true)).toMatchObject({ do: 'linger' })
    const steps = Array.from({ length: 10 }, () => {
      // Each is later than the time for which a consumer lingers without a find.
      pass(50)
      return protocol.claimed(empty, false).do
    })
    expect(steps).toEqual([...Array(9).fill('linger'), 'take'])
  })

  for (const dozes of [true, false]) {
    const who = dozes ? 'a consumer dozes' : 'a consumer of jobs that others may not take sleeps'
    test(`after several wake-ups for nothing in a row ${who}`, () => {
      const { protocol, pass } = protocolAt(dozes)
      protocol.taken()
      protocol.claimed(empty, true)
      const steps = Array.from({ length: 20 }, () => {
        pass(20)
        protocol.notified()
        return protocol.claimed(empty, true).do
      })
      const expected = Array(20).fill('sleep')
      // The others are counted again later.
      if (dozes) [expected[3], expected[15]] = ['doze', 'doze']
      expect(steps).toEqual(expected)
    })
  }
})

test('fast notifications end in a linger, and none of them may be answered late', () => {
  const { protocol, pass } = protocolAt()
  protocol.taken()
  protocol.claimed(empty, true)
  pass(20)
  const areFast = Array.from({ length: 30 }, () => protocol.notified())
  expect([areFast[0], areFast.at(-1)]).toEqual([false, true])
  expect(protocol.claimed(empty, true).do).toBe('linger')
})

test('wake-ups that come fast and bring nothing end in lingering too; for a second, and no longer', () => {
  for (const dozes of [true, false]) {
    const { protocol, pass } = protocolAt(dozes)
    protocol.taken()
    protocol.claimed(empty, true)
    let step = protocol.claimed(empty, true)
    let notified = 0
    for (; step.do !== 'linger' && notified < 100; notified += 1) {
      // By others' jobs: several with each claim, so that none of it is a row of wake-ups for nothing.
      pass(1)
      for (let n = 0; n < 10; n += 1) protocol.notified()
      step = protocol.claimed(empty, true)
    }
    expect(notified).toBeLessThan(5)
    let claims = 0
    let lingeredMs = 0
    for (; step.do === 'linger'; claims += 1) {
      pass(step.inMs)
      lingeredMs += step.inMs
      step = protocol.claimed(empty, false)
    }
    expect(step).toEqual({ do: 'take' })
    expect(lingeredMs).toBeGreaterThan(1_000)
    expect(claims).toBeLessThan(50)
    // One notification does not make it linger again.
    protocol.taken()
    protocol.notified()
    expect(protocol.claimed(empty, true).do).not.toBe('linger')
  }
})

test('a linger ends by its bound, however slowly the server answered', () => {
  const { protocol } = protocolAt(true, 0.999)
  const step = protocol.claimed({ ...empty, asked: 1_000, found: 999, tripMs: 30_000 }, true)
  if (step.do !== 'linger') throw new Error(step.do)
  expect(step.inMs).toBeLessThanOrEqual(deafMs)
})

test('a lingering consumer asks the more seldom the more slowly the server answers', () => {
  const { protocol, pass } = protocolAt()
  for (let i = 0; i < 100; i += 1) {
    protocol.notified()
    pass(1)
  }
  const waitAfter = (tripMs: number): number => {
    const step = protocol.claimed({ ...empty, found: 1, tripMs }, true)
    if (step.do !== 'linger') throw new Error(step.do)
    return step.inMs
  }
  expect(waitAfter(1)).toBeLessThan(3)
  expect(waitAfter(3)).toBeLessThan(3)
  expect(waitAfter(20)).toBeGreaterThan(20)
})
