import { expect, test } from 'vitest'
import { type ClaimAnswer, createDispatcher, type DispatcherParts } from '../../src/consume/dispatcher.js'
import { signal } from '../support/signal.js'

type Answer = ClaimAnswer<number>

/** A dispatcher whose claims the test answers one by one. */
function dispatcherUnderTest(overrides: Partial<DispatcherParts<number>> = {}) {
  const asked: number[] = []
  const started: number[] = []
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
    start: (job) => void started.push(job),
    freeSlots: () => 10,
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
  return { asked: 10, found: jobs.length, jobs, leftBehind: false, xmin: 100n, target: 100n, ...extra }
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

test('jobs of a claim that was in flight when the stop came are started: they are claimed', async () => {
  const { dispatcher, claim, started } = dispatcherUnderTest()
  const first = await claim()
  const stopped = dispatcher.stop()
  first.answer(answer([1, 2]))
  await stopped
  expect(started).toEqual([1, 2])
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
