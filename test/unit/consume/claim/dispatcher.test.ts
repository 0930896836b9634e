import { expect, test } from 'vitest'
import { createDispatcher } from '../../../../src/consume/claim/dispatcher.js'
import type { ClaimAnswer, DispatcherParts } from '../../../../src/consume/claim/loop-parts.js'
import { createLoopState, isAboutToClaim } from '../../../../src/consume/claim/loop-state.js'
import { createReasons } from '../../../../src/consume/claim/reasons.js'
import { signal } from '../../../support/signal.js'

type Answer = ClaimAnswer<number>

/** A dispatcher whose claims the test answers one by one. */
function dispatcherUnderTest(overrides: Partial<DispatcherParts<number>> = {}) {
  const asked: number[] = []
  const proving: boolean[] = []
  const started: number[] = []
  const givenBack: number[] = []
  const open: { proves: boolean; answer: (answer: Answer) => void; fail: (error: Error) => void }[] = []
  let arrived = signal()
  let held = false
  let dozing = 0
  const calls: number[] = []
  const state = createLoopState()
  const reasons = createReasons(state)
  const parts: DispatcherParts<number> = {
    state,
    reasons,
    claim: (limit, proves) => {
      asked.push(limit)
      proving.push(proves)
      const answer = signal<Answer>()
      open.push({ proves, answer: answer.resolve, fail: answer.reject })
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
      doze: async () => ({ others: dozing, before: dozing }),
      blocker: async () => null,
    },
    dozes: true,
    callOthers: (asked) => void calls.push(asked),
    writing: async () => false,
    onError: () => {},
    onUnprotected: () => {},
    onWaitingUnprotected: () => {},
    now: () => performance.now(),
    random: () => 0.5,
    ...overrides,
  }
  const dispatcher = createDispatcher(parts)
  return {
    dispatcher,
    state,
    reasons,
    isAboutToClaim: () => isAboutToClaim(state, parts.gate, parts.wanted),
    asked,
    proving,
    started,
    givenBack,
    lose: () => {
      held = false
    },
    isHeld: () => held,
    /** Others that doze, from now on. */
    others: (count: number) => {
      dozing = count
    },
    calls: () => calls,
    /** What is in flight finds nothing. */
    async stop() {
      const stopped = dispatcher.stop()
      for (const { answer: tell } of open.splice(0)) tell(answer([]))
      await stopped
    },
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
  return {
    asked: 10,
    found: jobs.length,
    jobs,
    leftBehind: false,
    paused: false,
    xmin: 100n,
    target: 100n,
    tripMs: 1,
    ...extra,
  }
}

test('an empty queue is claimed once, then under the lock once more, and then slept on', async () => {
  const { dispatcher, claim, asked, isHeld, state } = dispatcherUnderTest()
  ;(await claim()).answer(answer([]))
  await dispatcher.firstClaim
  ;(await claim()).answer(answer([]))
  await settled()
  expect(isHeld()).toBe(true)
  expect(state.isWaiting).toBe(true)
  expect(asked).toEqual([10, 10])
  await dispatcher.stop()
  expect(isHeld()).toBe(false)
})

test('a notification wakes it once, and only where it waits', async () => {
  const { dispatcher, claim, state } = dispatcherUnderTest()
  const first = await claim()
  expect(dispatcher.notified()).toBe(false)
  first.answer(answer([]))
  ;(await claim()).answer(answer([]))
  await settled()
  expect(state.isWaiting).toBe(true)
  expect([dispatcher.notified(), dispatcher.notified()]).toEqual([true, false])
  const woken = await claim()
  expect(dispatcher.notified()).toBe(false)
  const stopped = dispatcher.stop()
  woken.answer(answer([]))
  await stopped
})

test('a notification during a claim causes one more claim', async () => {
  const { dispatcher, claim, asked, state } = dispatcherUnderTest()
  ;(await claim()).answer(answer([]))
  const second = await claim()
  dispatcher.notified()
  dispatcher.notified()
  second.answer(answer([]))
  ;(await claim()).answer(answer([]))
  await settled()
  expect(asked).toHaveLength(3)
  expect(state.isWaiting).toBe(true)
  await dispatcher.stop()
})

test('one claim is in flight at a time, however often it is raised', async () => {
  const { dispatcher, claim, asked, reasons } = dispatcherUnderTest()
  const first = await claim()
  for (let i = 0; i < 10; i += 1) reasons.raise()
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

test(
  'while the gate is closed nothing is claimed and no lock held; what was raised meanwhile is claimed when it ' +
    'opens',
  async () => {
    const { gate, close, open } = gateUnderTest()
    const { dispatcher, claim, asked, isHeld, state } = dispatcherUnderTest({ gate })
    ;(await claim()).answer(answer([]))
    ;(await claim()).answer(answer([]))
    await settled()
    close()
    dispatcher.notified()
    await settled()
    expect(asked).toHaveLength(2)
    expect(isHeld()).toBe(false)
    expect(state.isWaiting).toBe(false)
    open()
    ;(await claim()).answer(answer([]))
    await dispatcher.stop()
  },
)

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
  const { dispatcher, claim, asked, isHeld, state } = dispatcherUnderTest()
  ;(await claim()).answer(answer([], { paused: true }))
  await settled()
  expect(state.mode === 'queue-paused').toBe(true)
  expect(state.isWaiting).toBe(false)
  expect(asked).toHaveLength(1)
  dispatcher.notified()
  ;(await claim()).answer(answer([]))
  await settled()
  expect(state.mode === 'queue-paused').toBe(false)
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
  const { dispatcher, claim, lose, isHeld, reasons } = dispatcherUnderTest()
  ;(await claim()).answer(answer([]))
  ;(await claim()).answer(answer([]))
  await settled()
  lose()
  expect(dispatcher.isUnprotected).toBe(true)
  reasons.raise()
  ;(await claim()).answer(answer([]))
  ;(await claim()).answer(answer([]))
  await settled()
  expect(isHeld()).toBe(true)
  await dispatcher.stop()
})

test('a lingering consumer waits as a sweep sees it; the sweep makes it claim, a notification does not', async () => {
  // A clock that stands still: whatever was found just now was found fast, and no wait ends by itself.
  const { dispatcher, claim, asked, isHeld, state, reasons } = dispatcherUnderTest({
    now: () => 0,
    random: () => 1_000_000,
  })
  ;(await claim()).answer(answer([], { asked: 100, found: 99 }))
  await settled()
  expect([state.isWaiting, state.isAsleep, dispatcher.isUnprotected]).toEqual([true, false, false])
  expect(isHeld()).toBe(false)
  expect(dispatcher.notified()).toBe(false)
  await settled()
  expect(asked).toHaveLength(1)
  reasons.raise()
  ;(await claim()).answer(answer([]))
  await dispatcher.stop()
})

/** Asleep among many that doze, after wake-ups for nothing. It never comes by itself. */
async function dozingDispatcher() {
  const under = dispatcherUnderTest({ random: () => 100 })
  const { dispatcher, claim, others, asked } = under
  others(60)
  ;(await claim()).answer(answer([]))
  ;(await claim()).answer(answer([]))
  for (let n = 0; n < 4; n += 1) {
    await settled()
    dispatcher.notified()
    ;(await claim()).answer(answer([]))
  }
  await settled()
  asked.splice(0)
  return under
}

test('one that dozes does not claim at a notification, and does at a call, for both', async () => {
  const { dispatcher, claim, asked, state, reasons } = await dozingDispatcher()
  expect([dispatcher.notified(), dispatcher.notified()]).toEqual([true, false])
  await settled()
  expect([asked.length, state.isAsleep]).toEqual([0, true])
  reasons.raise()
  ;(await claim()).answer(answer([]))
  await settled()
  expect([asked.length, state.isAsleep]).toEqual([1, true])
  await dispatcher.stop()
})

test('one that dozes and claims as many jobs as it can take calls the others, once', async () => {
  const { claim, calls, stop, reasons } = await dozingDispatcher()
  reasons.raise()
  ;(await claim()).answer(answer([1, 2, 3], { asked: 10 }))
  await settled()
  expect(calls()).toEqual([])
  await stop()

  const full = await dozingDispatcher()
  full.reasons.raise()
  ;(await full.claim()).answer(answer([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]))
  ;(await full.claim()).answer(answer([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]))
  await settled()
  expect(full.calls()).toEqual([10])
  await full.stop()

  // It is full as well, whatever else there is.
  const ofOne = await dozingDispatcher()
  ofOne.reasons.raise()
  ;(await ofOne.claim()).answer(answer([1], { asked: 1 }))
  ;(await ofOne.claim()).answer(answer([2], { asked: 1 }))
  await settled()
  expect(ofOne.calls()).toEqual([1])
  await ofOne.stop()
})

test('a failed claim is repeated at once when the way to the database is free, and not by a wake-up', async () => {
  // Hours.
  const { dispatcher, claim, asked, stop, reasons } = dispatcherUnderTest({ random: () => 1e6 })
  for (let times = 1; times <= 3; times += 1) {
    ;(await claim()).fail(new Error('no answer'))
    await settled()
    reasons.raise()
    await settled()
    expect(asked).toHaveLength(times)
    dispatcher.hurry()
  }
  await settled()
  expect(asked).toHaveLength(4)
  await stop()
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

test('who waits for an empty queue is told though K cannot be had and a claim has left jobs behind', async () => {
  const { dispatcher, claim, proving } = dispatcherUnderTest({ lock: null })
  ;(await claim()).answer(answer([]))
  await settled()
  const empty = dispatcher.seenEmpty()
  // Nobody tells when that is over.
  for (let times = 0; times < 3; times += 1) (await claim()).answer(answer([], { leftBehind: true }))
  ;(await claim()).answer(answer([]))
  await empty
  expect(proving).toEqual([false, true, true, true, true])
  await settled()
  expect(proving).toHaveLength(5)
  await dispatcher.stop()
})

/** A claim is about to be sent, or on its way, or the loop has come to rest: acks wait, or are told to go. */
function restingDispatcher(overrides: Partial<DispatcherParts<number>> = {}) {
  const rests: boolean[] = []
  const under = dispatcherUnderTest({ ...overrides, onRest: () => rests.push(true) })
  return {
    ...under,
    /** Whether it has come to rest since it was last asked, and is at rest. */
    rested(): boolean {
      const since = rests.splice(0)
      return since.length > 0 && !under.isAboutToClaim()
    },
    rests,
  }
}

test('a claim is about to be sent while one is in flight; asleep the dispatcher rests, and has said so', async () => {
  const { dispatcher, claim, rested, state, isAboutToClaim } = restingDispatcher()
  const first = await claim()
  expect(isAboutToClaim()).toBe(true)
  first.answer(answer([]))
  const second = await claim()
  expect(isAboutToClaim()).toBe(true)
  second.answer(answer([]))
  await settled()
  expect(state.isWaiting).toBe(true)
  expect(rested()).toBe(true)
  await dispatcher.stop()
})

test('when no job is wanted it rests, and has said so; once a slot is free a claim is about to be sent', async () => {
  let wanted = 10
  const { dispatcher, claim, rested, reasons, isAboutToClaim } = restingDispatcher({ wanted: () => wanted })
  const first = await claim()
  wanted = 0
  const ten = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
  first.answer(answer(ten))
  await settled()
  expect(rested()).toBe(true)
  wanted = 1
  expect(isAboutToClaim()).toBe(true)
  reasons.slotFreed()
  expect(isAboutToClaim()).toBe(true)
  ;(await claim()).answer(answer([], { asked: 1 }))
  await dispatcher.stop()
})

test('a slot that is taken again in the same turn: no claim is sent, and it is at rest and has said so', async () => {
  let wanted = 10
  const { dispatcher, claim, asked, rested, reasons } = restingDispatcher({ wanted: () => wanted })
  const first = await claim()
  wanted = 0
  first.answer(answer([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]))
  await settled()
  rested()
  wanted = 1
  reasons.slotFreed()
  wanted = 0
  await settled()
  expect(asked).toHaveLength(1)
  expect(rested()).toBe(true)
  await dispatcher.stop()
})

for (const [when, bring] of Object.entries<
  (under: ReturnType<typeof restingDispatcher>, close: () => void) => Promise<void>
>({
  'after a claim that has failed': async ({ claim }) => (await claim()).fail(new Error('no answer')),
  'where the queue was found paused': async ({ claim }) => (await claim()).answer(answer([], { paused: true })),
  'paused here': async ({ claim, dispatcher }) => {
    const first = await claim()
    void dispatcher.pause()
    first.answer(answer([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]))
  },
  'while the gate is closed': async ({ claim }, close) => {
    const first = await claim()
    close()
    first.answer(answer([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]))
  },
  'while its stop waits for the claim in flight': async ({ claim, dispatcher }) => {
    const first = await claim()
    void dispatcher.stop()
    await settled()
    setTimeout(() => first.answer(answer([])), 50)
  },
})) {
  test(`${when} no claim is about to be sent, and it has said so`, async () => {
    const { gate, close, open } = gateUnderTest()
    const under = restingDispatcher({ gate })
    await bring(under, close)
    await settled()
    expect(under.rested()).toBe(true)
    const stopped = under.dispatcher.stop()
    open()
    await stopped
  })
}

test('a claim proves something exactly if the sleep lock is held, or somebody waits for an empty queue', async () => {
  const { dispatcher, claim, proving, isHeld, lose, stop, reasons } = dispatcherUnderTest()
  ;(await claim()).answer(answer([]))
  const underLock = await claim()
  expect([isHeld(), proving]).toEqual([true, [false, true]])
  underLock.answer(answer([]))
  await settled()
  lose()
  reasons.raise()
  const again = await claim()
  expect(proving.at(-1)).toBe(false)
  const empty = dispatcher.seenEmpty()
  again.answer(answer([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]))
  const forEmpty = await claim()
  expect([isHeld(), proving.at(-1)]).toEqual([false, true])
  forEmpty.answer(answer([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]))
  // It was not empty: the next one is to prove it too.
  const next = await claim()
  expect(proving.at(-1)).toBe(true)
  next.answer(answer([]))
  await empty
  await stop()
})

test('after a claim that has failed, the next one is still to prove what somebody waits for', async () => {
  const { dispatcher, claim, proving, stop } = dispatcherUnderTest()
  const first = await claim()
  const empty = dispatcher.seenEmpty()
  first.answer(answer([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]))
  ;(await claim()).fail(new Error('no answer'))
  const second = await claim()
  expect(proving).toEqual([false, true, true])
  second.answer(answer([]))
  await empty
  await stop()
})

/** Full claims, and look-ahead enough for two at a time; the loop's own claim, and the one beside. */
async function withOneBeside(overrides: Partial<DispatcherParts<number>> = {}) {
  const under = dispatcherUnderTest({ overlaps: () => true, ...overrides })
  ;(await under.claim()).answer(answer(ten(1)))
  const own = await under.claim()
  under.reasons.slotFreed()
  const beside = await under.claim()
  return { ...under, own, beside }
}

function ten(from: number): number[] {
  return Array.from({ length: 10 }, (_, index) => from + index)
}

test('where claims overlap and come back full, one goes beside the loop’s own: two at once, never three', async () => {
  const { dispatcher, reasons, asked, started, own, beside } = await withOneBeside()
  for (let i = 0; i < 10; i += 1) {
    reasons.slotFreed()
    reasons.raise()
    await settled()
  }
  expect(asked).toHaveLength(3)
  beside.answer(answer(ten(21)))
  await settled()
  expect(started).toEqual([...ten(1), ...ten(21)])
  const stopped = dispatcher.stop()
  own.answer(answer([]))
  await stopped
})

for (const [why, overrides, found] of [
  ['where claims do not overlap', { overlaps: () => false }, 10],
  ['where the last claim was not full', {}, 9],
] as const) {
  test(`${why} one claim is in flight at a time`, async () => {
    const { dispatcher, claim, asked, reasons } = dispatcherUnderTest({ overlaps: () => true, ...overrides })
    ;(await claim()).answer(answer(ten(1).slice(0, found)))
    const second = await claim()
    for (let i = 0; i < 10; i += 1) {
      reasons.slotFreed()
      await settled()
    }
    expect(asked).toHaveLength(2)
    const stopped = dispatcher.stop()
    second.answer(answer([]))
    await stopped
  })
}

test('what a claim beside asked for and did not find is wanted again, though the loop waits for a slot', async () => {
  for (const end of ['nothing', 'an error'] as const) {
    let isAllAsked = false
    const { own, beside, asked, claim, stop, reasons } = await withOneBeside({ wanted: () => (isAllAsked ? 0 : 10) })
    isAllAsked = true
    own.answer(answer(ten(11).slice(0, 9)))
    await settled()
    // The last jobs end.
    reasons.slotFreed()
    await settled()
    expect(asked).toHaveLength(3)
    isAllAsked = false
    if (end === 'nothing') beside.answer(answer([]))
    else beside.fail(new Error('no answer'))
    ;(await claim()).answer(answer([]))
    await stop()
  }
})

test('where nothing more is wanted, or the gate is closed, no claim goes beside', async () => {
  let wanted = 10
  let isRefilled = false
  const { gate, close, open } = gateUnderTest()
  const { claim, asked, stop, reasons } = dispatcherUnderTest({
    overlaps: () => true,
    // With what the loop's own claim asks for, nothing more is.
    wanted: () => {
      const wantedNow = wanted
      if (isRefilled) wanted = 0
      return wantedNow
    },
    gate,
  })
  const first = await claim()
  isRefilled = true
  first.answer(answer(ten(1)))
  await settled()
  expect(asked).toHaveLength(2)
  reasons.slotFreed()
  await settled()
  isRefilled = false
  wanted = 10
  close()
  reasons.slotFreed()
  await settled()
  expect(asked).toHaveLength(2)
  const stopped = stop()
  open()
  await stopped
})

test('a claim beside proves nothing, neither when empty nor when it fails; its failure is not reported', async () => {
  const errors: Error[] = []
  let isEmpty = false
  const { dispatcher, proving, own, beside, isHeld, claim, stop, state } = await withOneBeside({
    onError: (error) => errors.push(error),
  })
  void dispatcher.seenEmpty().then(() => {
    isEmpty = true
  })
  expect(proving).toEqual([false, false, false])
  beside.answer(answer([]))
  await settled()
  expect([isEmpty, isHeld(), state.isWaiting]).toEqual([false, false, false])
  own.answer(answer(ten(31)))
  let next = await claim()
  // One more beside.
  while (!next.proves) next = await claim()
  next.answer(answer([]))
  await settled()
  expect(isEmpty).toBe(true)
  await stop()

  const failing = await withOneBeside({ onError: (error) => errors.push(error) })
  failing.beside.fail(new Error('no answer'))
  await settled()
  expect(errors).toEqual([])
  const over = failing.dispatcher.stop()
  failing.own.answer(answer([]))
  await over
})

test('jobs of a claim beside that was in flight at the stop are given back; the stop waits for them', async () => {
  const { dispatcher, started, givenBack, own, beside } = await withOneBeside()
  let isStopped = false
  const stopped = dispatcher.stop().then(() => {
    isStopped = true
  })
  own.answer(answer(ten(11)))
  await settled()
  expect(isStopped).toBe(false)
  beside.answer(answer(ten(21)))
  await stopped
  expect(started).toEqual(ten(1))
  expect(givenBack).toEqual([...ten(11), ...ten(21)])
})

test('a pause waits for the claim beside; what waits to know what it has taken does too', async () => {
  const { dispatcher, started, own, beside, asked } = await withOneBeside()
  const over: string[] = []
  const paused = dispatcher.pause().then(() => over.push('paused'))
  const known = dispatcher.besideAnswered.then(() => over.push('known'))
  own.answer(answer(ten(11)))
  await settled()
  expect(over).toEqual([])
  beside.answer(answer(ten(21)))
  await Promise.all([paused, known])
  expect(started).toEqual([...ten(1), ...ten(11), ...ten(21)])
  expect(asked).toHaveLength(3)
  await dispatcher.besideAnswered
  await dispatcher.stop()
})

/** Everything that needs no further answer has happened. */
async function settled(): Promise<void> {
  for (let i = 0; i < 5; i += 1) await new Promise((resolve) => setImmediate(resolve))
}
