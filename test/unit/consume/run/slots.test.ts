import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, test, vi } from 'vitest'
import { createSlots, type SlotsParts } from '../../../../src/consume/run/slots.js'
import { signal } from '../../../support/signal.js'

interface TestJob {
  readonly id: number
  readonly claimedAt: number
  readonly bytes: number
}

function job(id: number, { bytes = 1 } = {}): TestJob {
  return { id, claimedAt: performance.now(), bytes }
}

function jobs(...ids: number[]): TestJob[] {
  return ids.map((id) => job(id))
}

interface OwnRun {
  readonly run?: (job: TestJob) => Promise<unknown>
  readonly atOnce?: (job: TestJob) => boolean
}

/**
 * Runs end when the test says so, by `end`; with a `run` of its own, as that does; with `atOnce`, if that returns true,
 * with no promise.
 */
function slotsUnderTest(overrides: Partial<Omit<SlotsParts<TestJob>, 'run'>> & OwnRun = {}) {
  const begun: number[] = []
  const givenBack: number[] = []
  const open = new Map<number, () => void>()
  const counts = { atOnce: 0, most: 0, impatient: 0, ran: 0, free: 0 }
  let news = signal()
  const tell = (): void => {
    news.resolve()
    news = signal()
  }
  const { run, atOnce, now = () => performance.now(), ...others } = overrides
  async function runLater(one: TestJob): Promise<number> {
    counts.atOnce += 1
    counts.most = Math.max(counts.most, counts.atOnce)
    const ended = new Promise<void>((resolve) => open.set(one.id, resolve))
    tell()
    await (run === undefined ? ended : run(one))
    counts.atOnce -= 1
    return performance.now()
  }
  const slots = createSlots<TestJob>({
    concurrency: 2,
    run: (one) => {
      begun.push(one.id)
      return atOnce?.(one) === true ? now() : runLater(one)
    },
    giveBack: (given) => {
      givenBack.push(...given.map(({ id }) => id))
      tell()
    },
    onImpatience: () => {
      counts.impatient += 1
    },
    gate: { isOpen: true, opened: async () => {} },
    patienceMs: Number.POSITIVE_INFINITY,
    mostHeldBytes: Number.POSITIVE_INFINITY,
    onRan: () => {
      counts.ran += 1
    },
    onFree: () => {
      counts.free += 1
      tell()
    },
    now,
    ...others,
  })
  return {
    slots,
    begun,
    givenBack,
    counts,
    end: (id: number) => open.get(id)?.(),
    async until(isSo: () => boolean) {
      while (!isSo()) await news.promise
    },
  }
}

/** A gate that the test opens and closes. */
function gateUnderTest(isOpen: boolean) {
  let opening = signal()
  const gate = { isOpen, opened: () => opening.promise }
  return {
    gate,
    close() {
      gate.isOpen = false
      opening = signal()
    },
    /** As at a worker's stop: the waiting slots are woken, although the gate is closed. */
    tell: () => opening.resolve(),
    open() {
      gate.isOpen = true
      opening.resolve()
    },
  }
}

test(
  'held jobs begin in the order in which they came, as slots come free, and never more at once than there are ' +
    'slots',
  async () => {
    const { slots, begun, counts, end, until } = slotsUnderTest()
    slots.start(jobs(1, 2, 3))
    slots.start(jobs(4, 5))
    expect(slots.held).toBe(5)
    await until(() => begun.length === 2)
    await settled()
    expect(begun).toEqual([1, 2])
    expect(slots.held).toBe(3)
    for (const [ended, all] of [
      [2, [1, 2, 3]],
      [3, [1, 2, 3, 4]],
      [1, [1, 2, 3, 4, 5]],
    ] as const) {
      end(ended)
      await until(() => begun.length === all.length)
      await settled()
      expect(begun).toEqual(all)
    }
    expect(counts.free).toBe(0)
    end(4)
    end(5)
    await slots.onIdle()
    expect(counts).toMatchObject({ most: 2, atOnce: 0, impatient: 0 })
    expect(slots.held).toBe(0)
  },
)

test('of many jobs whose runs end at once or later no two slots take the same, and none is left', async () => {
  const { slots, begun, counts } = slotsUnderTest({
    concurrency: 3,
    run: ({ id }) => (id % 2 === 0 ? Promise.resolve() : new Promise((resolve) => setImmediate(resolve))),
  })
  const ids = Array.from({ length: 300 }, (_, index) => index)
  for (let from = 0; from < ids.length; from += 30) {
    slots.start(jobs(...ids.slice(from, from + 30)))
    await new Promise((resolve) => setImmediate(resolve))
  }
  await slots.onIdle()
  expect(begun).toEqual(ids)
  expect(counts.most).toBe(3)
})

test('a slot without a job is told to be free; jobs that come later take it', async () => {
  const { slots, begun, counts, end, until } = slotsUnderTest({ concurrency: 1 })
  slots.start(jobs(1))
  await until(() => begun.length === 1)
  expect(counts.free).toBe(0)
  end(1)
  await until(() => counts.free === 1)
  slots.start(jobs(2))
  await until(() => begun.length === 2)
  end(2)
  await slots.onIdle()
})

test('slots that have had nothing to do take what comes later, each time, and are free in between', async () => {
  const { slots, begun, counts, end, until } = slotsUnderTest({ concurrency: 3 })
  for (let round = 0; round < 50; round += 1) {
    const ids = Array.from({ length: 1 + (round % 5) }, (_, index) => begun.length + index)
    slots.start(jobs(...ids))
    for (const id of ids) {
      await until(() => begun.includes(id))
      expect(slots.taken).toBeLessThanOrEqual(3)
      end(id)
    }
    await slots.onIdle()
    expect([slots.taken, slots.held, slots.free]).toEqual([0, 0, 3])
  }
  expect(begun).toEqual(Array.from({ length: 150 }, (_, index) => index))
  expect(counts).toMatchObject({ most: 3, ran: 150, atOnce: 0 })
})

test('a run that throws or rejects all the same costs no slot', async () => {
  const { slots, begun, counts } = slotsUnderTest({
    concurrency: 1,
    run: ({ id }) => (id === 0 ? Promise.reject(new Error('no')) : Promise.resolve()),
    atOnce: ({ id }) => {
      if (id === 1) throw new Error('no')
      return false
    },
  })
  for (const id of [0, 1, 2]) {
    slots.start(jobs(id))
    await settled()
    await slots.onIdle()
    expect([slots.taken, slots.free]).toEqual([0, 1])
  }
  expect([begun, counts.free]).toEqual([[0, 1, 2], 3])
})

test('a job begins after what its giver does in the same turn: the next claim is sent before it', async () => {
  const order: string[] = []
  const { slots } = slotsUnderTest({
    run: async () => {
      order.push('run')
    },
  })
  slots.start(jobs(1))
  order.push('claim sent')
  await slots.onIdle()
  await settled()
  expect(order).toEqual(['claim sent', 'run'])
})

test('what is taken back never begins; what runs goes on, and jobs that come later begin', async () => {
  const { slots, begun, end, until } = slotsUnderTest({ concurrency: 1 })
  slots.start(jobs(1, 2, 3))
  await until(() => begun.length === 1)
  expect(slots.takeBack().map(({ id }) => id)).toEqual([2, 3])
  expect(slots.held).toBe(0)
  expect(slots.takeBack()).toEqual([])
  slots.start(jobs(4))
  end(1)
  await until(() => begun.length === 2)
  end(4)
  await slots.onIdle()
  expect(begun).toEqual([1, 4])
})

test('what is taken back in the turn in which it came never begins', async () => {
  const { slots, begun } = slotsUnderTest()
  slots.start(jobs(1, 2))
  expect(slots.takeBack().map(({ id }) => id)).toEqual([1, 2])
  await settled()
  await slots.onIdle()
  expect(begun).toEqual([])
})

test('while the gate is closed no job begins; when it opens they do, in order', async () => {
  const { gate, open } = gateUnderTest(false)
  const { slots, begun, end, until } = slotsUnderTest({ gate })
  slots.start(jobs(1, 2, 3))
  await settled()
  expect(begun).toEqual([])
  expect(slots.held).toBe(3)
  open()
  await until(() => begun.length === 2)
  for (const id of [1, 2]) end(id)
  await until(() => begun.length === 3)
  end(3)
  await slots.onIdle()
  expect(begun).toEqual([1, 2, 3])
})

test('a gate that closes while jobs run: those go on, and the next ones wait for it', async () => {
  const { gate, close, open } = gateUnderTest(true)
  const { slots, begun, end, until } = slotsUnderTest({ gate })
  slots.start(jobs(1, 2, 3, 4))
  await until(() => begun.length === 2)
  close()
  end(1)
  end(2)
  await slots.onIdle()
  await settled()
  expect(begun).toEqual([1, 2])
  expect(slots.held).toBe(2)
  open()
  await until(() => begun.length === 4)
  end(3)
  end(4)
  await slots.onIdle()
})

test(
  'a gate that tells without being open, or that closes again, lets none begin; what is taken back from it never ' +
    'does',
  async () => {
    const { gate, close, open, tell } = gateUnderTest(false)
    const { slots, begun, end, until } = slotsUnderTest({ gate })
    slots.start(jobs(1))
    tell()
    await settled()
    close()
    await settled()
    expect(begun).toEqual([])
    expect(slots.takeBack().map(({ id }) => id)).toEqual([1])
    slots.start(jobs(2))
    open()
    await until(() => begun.length === 1)
    expect(begun).toEqual([2])
    end(2)
    await slots.onIdle()
  },
)

test('what was held for too long is given back, all of it, and whoever gave it is told before', async () => {
  const impatience: number[] = []
  const { slots, begun, givenBack, end, until } = slotsUnderTest({
    concurrency: 1,
    patienceMs: 20,
    onImpatience: () => impatience.push(slots.held),
  })
  slots.start(jobs(1, 2, 3))
  await until(() => begun.length === 1)
  slots.start(jobs(4))
  await until(() => givenBack.length > 0)
  expect(givenBack).toEqual([2, 3, 4])
  expect(impatience).toEqual([3])
  expect(slots.held).toBe(0)
  slots.start(jobs(5))
  await until(() => givenBack.length > 3)
  expect(givenBack).toEqual([2, 3, 4, 5])
  end(1)
  await slots.onIdle()
  expect(begun).toEqual([1])
})

test('nothing is given back that has not been held for so long, however long others were before it', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  try {
    const { slots, begun, givenBack, counts, end, until } = slotsUnderTest({ concurrency: 1, patienceMs: 100 })
    slots.start(jobs(1, 2))
    await until(() => begun.length === 1)
    await settled()
    vi.advanceTimersByTime(70)
    end(1)
    await until(() => begun.length === 2)
    slots.start(jobs(3))
    await settled()
    vi.advanceTimersByTime(99)
    expect(givenBack).toEqual([])
    vi.advanceTimersByTime(1)
    expect(givenBack).toEqual([3])
    expect(counts.impatient).toBe(1)
    end(2)
    await slots.onIdle()
  } finally {
    vi.useRealTimers()
  }
})

test('who waits for the gate is not given back, however long; nor who is held without an end to patience', async () => {
  const { gate, open } = gateUnderTest(false)
  const closed = slotsUnderTest({ gate, patienceMs: 15 })
  const patient = slotsUnderTest({ concurrency: 1 })
  closed.slots.start(jobs(1))
  patient.slots.start(jobs(1, 2))
  // Others with three times the patience lose theirs: then the former have had three chances to.
  const fence = slotsUnderTest({ concurrency: 1, patienceMs: 45 })
  fence.slots.start(jobs(1, 2))
  await fence.until(() => fence.givenBack.length > 0)
  expect([closed.givenBack, closed.counts.impatient]).toEqual([[], 0])
  expect([patient.givenBack, patient.counts.impatient]).toEqual([[], 0])
  open()
  await closed.until(() => closed.begun.length === 1)
  for (const { end } of [closed, patient, fence]) end(1)
  await patient.until(() => patient.begun.length === 2)
  patient.end(2)
})

test('a slot that a held job will take is not free, though it has not begun in this turn', async () => {
  const { slots, begun, end, until } = slotsUnderTest({ concurrency: 3 })
  expect(slots.free).toBe(3)
  slots.start(jobs(1, 2))
  expect([slots.free, slots.taken]).toEqual([1, 0])
  slots.start(jobs(3, 4))
  expect(slots.free).toBe(-1)
  await until(() => begun.length === 3)
  expect(slots.free).toBe(-1)
  for (const id of [1, 2]) end(id)
  await until(() => begun.length === 4)
  await settled()
  expect(slots.free).toBe(1)
  for (const id of [3, 4]) end(id)
  await slots.onIdle()
  expect(slots.free).toBe(3)
})

test('what would make the held jobs too heavy is given back at once, and all that came after it', async () => {
  const { slots, begun, givenBack, end, until } = slotsUnderTest({ mostHeldBytes: 10 })
  const weighing = (bytes: number, ...ids: number[]) => ids.map((id) => job(id, { bytes }))
  // What has a slot begins, however heavy it is.
  slots.start([...weighing(100, 1, 2), ...weighing(4, 3, 4, 5), ...weighing(1, 6)])
  expect(givenBack).toEqual([5, 6])
  await until(() => begun.length === 2)
  // Two are held, which weigh eight.
  slots.start(weighing(2, 7, 8))
  expect(givenBack).toEqual([5, 6, 8])
  end(1)
  await until(() => begun.length === 3)
  // Of those that are held two weigh six.
  slots.start(weighing(4, 9))
  expect(slots.takeBack().map(({ id }) => id)).toEqual([4, 7, 9])
  slots.start(weighing(11, 10))
  slots.start(weighing(10, 11))
  expect(givenBack).toEqual([5, 6, 8, 10])
  expect(slots.takeBack().map(({ id }) => id)).toEqual([11])
  for (const id of [2, 3]) end(id)
  await slots.onIdle()
})

test('a row of runs that never wait for anything lets the event loop turn', async () => {
  const { slots, begun, counts, until } = slotsUnderTest({
    concurrency: 1,
    run: async () => {
      for (const until = performance.now() + 1; performance.now() < until; );
    },
  })
  const seen: number[] = []
  let isOver = false
  const look = (): void => {
    seen.push(begun.length)
    if (!isOver) setImmediate(look)
  }
  slots.start(jobs(...Array(60).keys()))
  setImmediate(look)
  await until(() => counts.free === 1)
  isOver = true
  // Every 5 ms, that is 12 times.
  expect(new Set(seen.filter((count) => count > 0 && count < 60)).size).toBeGreaterThanOrEqual(5)
  expect(counts.most).toBe(1)
})

test('runs that end at once leave no slot behind, beside others that do not; each is told', async () => {
  const { slots, begun, counts, end, until } = slotsUnderTest({ concurrency: 2, atOnce: ({ id }) => id % 10 !== 0 })
  slots.start(jobs(...Array.from({ length: 45 }, (_, index) => index)))
  await until(() => begun.length === 11)
  await settled()
  // Each slot is with one that goes on: 0 and 10.
  expect([slots.taken, slots.held, counts.ran]).toEqual([2, 34, 9])
  end(10)
  await until(() => begun.length === 21)
  end(0)
  await until(() => begun.length === 31)
  end(20)
  await until(() => begun.length === 41)
  end(30)
  await until(() => begun.length === 45)
  await settled()
  expect([slots.taken, slots.held, slots.free, counts.free]).toEqual([1, 0, 1, 1])
  end(40)
  await slots.onIdle()
  expect(begun).toEqual(Array.from({ length: 45 }, (_, index) => index))
  expect(counts).toMatchObject({ ran: 45, most: 2, atOnce: 0 })
})

test('a row of runs that end at once is short: what waits for microtasks comes in between', async () => {
  const seen: number[] = []
  const { slots, begun } = slotsUnderTest({
    concurrency: 1,
    atOnce: ({ id }) => {
      if (id === 0) void Promise.resolve().then(() => seen.push(begun.length))
      return true
    },
  })
  slots.start(jobs(...Array(200).keys()))
  await settled()
  await slots.onIdle()
  expect(begun).toHaveLength(200)
  expect(seen[0]).toBeLessThan(50)
})

test('a row of runs that end at once, and take long, lets the event loop turn, and looks at the gate', async () => {
  const { gate, close, open } = gateUnderTest(true)
  const { slots, begun } = slotsUnderTest({
    gate,
    concurrency: 1,
    atOnce: ({ id }) => {
      for (const until = performance.now() + 6; performance.now() < until; );
      if (id === 1) close()
      return true
    },
  })
  slots.start(jobs(...Array(5).keys()))
  await new Promise((resolve) => setImmediate(resolve))
  expect(begun).toEqual([0])
  await slots.onIdle()
  await settled()
  expect(begun).toEqual([0, 1])
  expect([slots.held, slots.taken]).toEqual([3, 0])
  open()
  await settled()
  await slots.onIdle()
  expect(begun).toEqual([0, 1, 2, 3, 4])
})

test('what is taken back by a run in a row never begins', async () => {
  const { slots, begun } = slotsUnderTest({
    atOnce: ({ id }) => {
      if (id === 3) expect(slots.takeBack()).toHaveLength(6)
      return true
    },
  })
  slots.start(jobs(...Array(10).keys()))
  await slots.onIdle()
  await settled()
  expect(begun).toEqual([0, 1, 2, 3])
})

test('a job that has run is not kept in memory, though there are always others that are held', async () => {
  setFlagsFromString('--expose-gc')
  const collectGarbage = runInNewContext('gc') as () => void
  const { slots, begun, end, until } = slotsUnderTest({ concurrency: 1 })
  const first = ((): WeakRef<TestJob> => {
    const one = job(0)
    slots.start([one])
    return new WeakRef(one)
  })()
  const most = 5_000
  slots.start(jobs(1))
  for (let id = 1; id < most; id += 1) {
    await until(() => begun.length === id)
    slots.start(jobs(id + 1))
    end(id - 1)
  }
  await until(() => begun.length === most)
  expect(slots.held).toBe(1)
  await settled()
  collectGarbage()
  expect(first.deref()).toBeUndefined()
  slots.takeBack()
  end(most - 1)
  await slots.onIdle()
})

test('time in which no slot is taken is not counted as busy; nor are two slots counted twice', async () => {
  let at = 100
  const { slots, end, until, begun } = slotsUnderTest({ now: () => at })
  const nextRun = async (...ids: number[]) => {
    const before = begun.length
    slots.start(jobs(...ids))
    await until(() => begun.length === before + ids.length)
  }
  expect(slots.busyMs).toBe(0)
  await nextRun(1, 2)
  at += 10
  expect(slots.busyMs).toBe(10)
  expect(slots.fullMs).toBe(10)
  end(1)
  await settled()
  at += 5
  expect(slots.fullMs).toBe(10)
  end(2)
  await slots.onIdle()
  await settled()
  at += 1_000
  expect(slots.busyMs).toBe(15)
  await nextRun(3)
  at += 1
  expect(slots.busyMs).toBe(16)
  end(3)
  await slots.onIdle()
})

test('runs that end at once keep one slot busy; and all of them, if there were as many', async () => {
  let at = 100
  const { slots, begun } = slotsUnderTest({
    concurrency: 3,
    now: () => at,
    atOnce: () => {
      at += 1
      return true
    },
  })
  slots.start(jobs(1, 2))
  await settled()
  expect([begun.length, slots.busyMs, slots.fullMs]).toEqual([2, 2, 0])
  at += 1_000
  slots.start(jobs(3, 4, 5))
  await settled()
  expect([begun.length, slots.busyMs, slots.fullMs]).toEqual([5, 5, 3])
})

/** Everything that needs no timer has happened. */
async function settled(): Promise<void> {
  for (let i = 0; i < 5; i += 1) await new Promise((resolve) => setImmediate(resolve))
}
