import { expect, test } from 'vitest'
import { type ClaimAnswer, createDispatcher, type DispatcherParts } from '../../src/consume/dispatcher.js'
import { signal } from '../support/signal.js'

type Answer = ClaimAnswer<number>

/** A dispatcher whose claims the test answers one by one. */
function dispatcherUnderTest(overrides: Partial<DispatcherParts<number>> = {}) {
  const asked: number[] = []
  const started: number[] = []
  const givenBack: number[] = []
  const open: { answer: (answer: Answer) => void; fail: (error: Error) => void }[] = []
  let arrived = signal()
  let held = false
  const dispatcher = createDispatcher<number>({
    claim: (limit) => {
      asked.push(limit)
      const answer = signal<Answer>()
      open.push({ answer: answer.resolve, fail: answer.reject })
      arrived.resolve()
      return answer.promise
    },
    start: (jobs) => void started.push(...jobs),
    giveBack: (jobs) => void givenBack.push(...jobs),
    gate: { isOpen: true, opened: async () => {} },
    wanted: () => 10,
    overlaps: () => false,
    onRest: () => {},
    lock: {
      holds: () => held,
      take: async () => {
        held = true
        return 'held'
      },
      release: () => {
        held = false
      },
      others: async () => ({ asleep: 0, blocker: null }),
    },
    naps: true,
    writing: async () => false,
    onError: () => {},
    onUnprotected: () => {},
    onWaitingUnprotected: () => {},
    now: () => performance.now(),
    random: () => 0.5,
    ...overrides,
  })
  return {
    dispatcher,
    asked,
    started,
    givenBack,
    lose: () => {
      held = false
    },
    isHeld: () => held,
    /** The next claim, once it is sent. */
    async claim() {
      while (open.length === 0) {
        arrived = signal()
        await arrived.promise
      }
      const next = open.shift()
      if (next === undefined) throw new Error('no claim')
      return next
    },
  }
}

function answer(jobs: number[], extra: Partial<Answer> = {}): Answer {
  return { asked: 10, found: jobs.length, jobs, leftBehind: false, paused: false, xmin: 100n, target: 100n, ...extra }
}

test('an empty queue is claimed once, then under the lock once more, and then slept on', async () => {
  const { dispatcher, claim, asked, isHeld } = dispatcherUnderTest()
  ;(await claim()).answer(answer([]))
  await dispatcher.firstClaim
  ;(await claim()).answer(answer([]))
  await settled()
  expect(isHeld()).toBe(true)
  expect(dispatcher.isWaiting).toBe(true)
  expect(asked).toEqual([10, 10])
  await dispatcher.stop()
  expect(isHeld()).toBe(false)
})

test('a notification during a claim causes one more claim', async () => {
  const { dispatcher, claim, asked } = dispatcherUnderTest()
  ;(await claim()).answer(answer([]))
  const second = await claim()
  dispatcher.notified()
  dispatcher.notified()
  second.answer(answer([]))
  ;(await claim()).answer(answer([]))
  await settled()
  expect(asked).toHaveLength(3)
  expect(dispatcher.isWaiting).toBe(true)
  await dispatcher.stop()
})

test('one claim is in flight at a time, however often it is raised', async () => {
  const { dispatcher, claim, asked } = dispatcherUnderTest()
  const first = await claim()
  for (let i = 0; i < 10; i += 1) dispatcher.raise()
  await settled()
  expect(asked).toHaveLength(1)
  first.answer(answer([]))
  const second = await claim()
  const stopped = dispatcher.stop()
  second.answer(answer([]))
  await stopped
})

test('jobs of a claim that was in flight when the stop came are given back, and do not begin', async () => {
  const { dispatcher, claim, started, givenBack } = dispatcherUnderTest()
  const first = await claim()
  const stopped = dispatcher.stop()
  first.answer(answer([1, 2]))
  await stopped
  expect(started).toEqual([])
  expect(givenBack).toEqual([1, 2])
})

/** A gate that the test opens and closes. */
function gateUnderTest() {
  let opening = signal()
  const gate = { isOpen: true, opened: () => opening.promise }
  return {
    gate,
    close() {
      gate.isOpen = false
      opening = signal()
    },
    open() {
      gate.isOpen = true
      opening.resolve()
    },
  }
}

test('while the gate is closed nothing is claimed and no lock held; what was raised meanwhile is claimed when it opens', async () => {
  const { gate, close, open } = gateUnderTest()
  const { dispatcher, claim, asked, isHeld } = dispatcherUnderTest({ gate })
  ;(await claim()).answer(answer([]))
  ;(await claim()).answer(answer([]))
  await settled()
  close()
  dispatcher.notified()
  await settled()
  expect(asked).toHaveLength(2)
  expect(isHeld()).toBe(false)
  expect(dispatcher.isWaiting).toBe(false)
  open()
  ;(await claim()).answer(answer([]))
  await dispatcher.stop()
})

test('paused in its sleep it gives the lock up and claims no more until it is resumed', async () => {
  const { dispatcher, claim, asked, isHeld } = dispatcherUnderTest()
  ;(await claim()).answer(answer([]))
  ;(await claim()).answer(answer([]))
  await settled()
  await dispatcher.pause()
  expect(isHeld()).toBe(false)
  dispatcher.notified()
  await settled()
  expect(asked).toHaveLength(2)
  dispatcher.resume()
  ;(await claim()).answer(answer([]))
  await dispatcher.stop()
})

test('a pause waits for the claim in flight, whose jobs begin; and without a free slot it comes at once', async () => {
  let free = 10
  const { dispatcher, claim, started } = dispatcherUnderTest({ wanted: () => free })
  const first = await claim()
  let isPaused = false
  const paused = dispatcher.pause().then(() => {
    isPaused = true
  })
  await settled()
  expect(isPaused).toBe(false)
  first.answer(answer([1]))
  await paused
  expect(started).toEqual([1])
  free = 0
  dispatcher.resume()
  await settled()
  await dispatcher.pause()
  await dispatcher.stop()
})

test('a pause that is resumed before it took effect, or stopped, resolves', async () => {
  const { dispatcher, claim } = dispatcherUnderTest()
  const first = await claim()
  const paused = dispatcher.pause()
  dispatcher.resume()
  await paused
  const again = dispatcher.pause()
  const stopped = dispatcher.stop()
  first.answer(answer([]))
  await Promise.all([again, stopped])
})

test('a queue found paused is not claimed again, and no lock held, until a wake-up', async () => {
  const { dispatcher, claim, asked, isHeld } = dispatcherUnderTest()
  ;(await claim()).answer(answer([], { paused: true }))
  await settled()
  expect(dispatcher.isQueuePaused).toBe(true)
  expect(dispatcher.isWaiting).toBe(false)
  expect(asked).toHaveLength(1)
  dispatcher.notified()
  ;(await claim()).answer(answer([]))
  await settled()
  expect(dispatcher.isQueuePaused).toBe(false)
  ;(await claim()).answer(answer([]))
  await settled()
  expect(isHeld()).toBe(true)
  await dispatcher.stop()
})

test('a resume that is told while the claim that finds the queue paused is in flight is not lost', async () => {
  const { dispatcher, claim } = dispatcherUnderTest()
  const first = await claim()
  dispatcher.notified()
  first.answer(answer([], { paused: true }))
  ;(await claim()).answer(answer([1]))
  await dispatcher.stop()
})

test('a paused queue is no proof that it is empty, unless one asks for that', async () => {
  const { dispatcher, claim } = dispatcherUnderTest()
  let isEmpty = false
  const first = await claim()
  void dispatcher.seenEmpty().then(() => {
    isEmpty = true
  })
  const orPaused = dispatcher.seenEmpty('orPaused')
  first.answer(answer([], { paused: true }))
  ;(await claim()).answer(answer([], { paused: true }))
  await orPaused
  await settled()
  expect(isEmpty).toBe(false)
  await dispatcher.stop()
})

test('a lock that was lost is taken again at the next wake-up', async () => {
  const { dispatcher, claim, lose, isHeld } = dispatcherUnderTest()
  ;(await claim()).answer(answer([]))
  ;(await claim()).answer(answer([]))
  await settled()
  lose()
  expect(dispatcher.isUnprotected).toBe(true)
  dispatcher.raise()
  ;(await claim()).answer(answer([]))
  ;(await claim()).answer(answer([]))
  await settled()
  expect(isHeld()).toBe(true)
  await dispatcher.stop()
})

test('a failed claim is told and tried again', async () => {
  const errors: string[] = []
  const { dispatcher, claim } = dispatcherUnderTest({ onError: (error) => errors.push(error.message) })
  ;(await claim()).fail(new Error('no answer'))
  ;(await claim()).answer(answer([]))
  await dispatcher.firstClaim
  expect(errors).toEqual(['no answer'])
  ;(await claim()).answer(answer([]))
  await dispatcher.stop()
})

test('seenEmpty waits for a claim that began after the call and proved the queue empty', async () => {
  const { dispatcher, claim } = dispatcherUnderTest()
  const first = await claim()
  let seen = false
  const empty = dispatcher.seenEmpty().then(() => {
    seen = true
  })
  first.answer(answer([]))
  const second = await claim()
  await settled()
  expect(seen).toBe(false)
  second.answer(answer([], { leftBehind: true }))
  const third = await claim()
  await settled()
  expect(seen).toBe(false)
  third.answer(answer([]))
  await empty
  await dispatcher.stop()
})

/** Everything that needs no further answer has happened. */
async function settled(): Promise<void> {
  for (let i = 0; i < 5; i += 1) await new Promise((resolve) => setImmediate(resolve))
}
