import { expect, onTestFinished, test, vi } from 'vitest'
import { createDispatcher } from '../../../../src/consume/claim/dispatcher.js'
import { createLoopState } from '../../../../src/consume/claim/loop-state.js'
import { createReasons } from '../../../../src/consume/claim/reasons.js'
import type { Dozers } from '../../../../src/database/control.js'

const size = 64
const everyMs = 400
/** To the server, and back. */
const hopMs = 1

/**
 * Real dispatchers of many processes, and a server that is an array; on a clock of the test's own. Draws come from a
 * generator of their own: the same in each run.
 */
async function startFleet() {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const random = createRandom(7)
  /** When each job that is ready was put. */
  let ready: number[] = []
  const waitsMs: number[] = []
  const finders: number[] = []
  const gone = new Set<number>()
  const dozing = new Set<number>()
  const statements = { claims: 0, dozes: 0 }

  function dozers(self: number): Dozers {
    const others = [...dozing].filter((other) => other !== self)
    return { others: others.length, before: others.filter((other) => other < self).length }
  }

  const hop = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, hopMs))

  const processes = Array.from({ length: size }, (_, self) => {
    let held = false
    const state = createLoopState()
    const dispatcher = createDispatcher<number>({
      state,
      reasons: createReasons(state),
      async claim(asked) {
        if (gone.has(self)) return new Promise(() => {})
        statements.claims += 1
        await hop()
        const jobs = ready.slice(0, asked)
        ready = ready.slice(asked)
        for (const putAt of jobs) waitsMs.push(performance.now() - putAt)
        if (jobs.length > 0) finders.push(self)
        await hop()
        const proof = { leftBehind: false, paused: false, xmin: 1n, target: 1n }
        return { jobs, asked, found: jobs.length, tripMs: 2 * hopMs, ...proof }
      },
      start: () => {},
      giveBack: () => {},
      gate: { isOpen: true, opened: async () => {} },
      wanted: () => 10,
      overlaps: () => false,
      onRest: () => {},
      lock: {
        holds: () => held,
        async take() {
          held = true
          return 'held'
        },
        release() {
          held = false
          dozing.delete(self)
        },
        async doze() {
          statements.dozes += 1
          await hop()
          dozing.add(self)
          const found = dozers(self)
          await hop()
          return found
        },
        blocker: async () => null,
      },
      dozes: true,
      callOthers: () => {},
      writing: async () => false,
      onError: (error) => {
        throw error
      },
      onUnprotected: () => {},
      onWaitingUnprotected: () => {},
      now: () => performance.now(),
      random,
    })
    const beats = setInterval(
      () => {
        if (dispatcher.countsDozers && !gone.has(self)) dispatcher.dozersSeen(dozers(self))
      },
      1_500 + 166 * random(),
    )
    return { dispatcher, beats }
  })
  onTestFinished(() => {
    for (const { beats } of processes) clearInterval(beats)
  })
  await vi.advanceTimersByTimeAsync(1_000)

  return {
    statements,
    waitsMs,
    finders,
    dozing,
    async put(): Promise<void> {
      ready.push(performance.now())
      for (const [index, { dispatcher }] of processes.entries()) if (!gone.has(index)) dispatcher.notified()
    },
    pass: (ms: number) => vi.advanceTimersByTimeAsync(ms),
    /** They say nothing, and the server has missed them. */
    kill(ids: readonly number[]) {
      for (const id of ids) {
        gone.add(id)
        dozing.delete(id)
      }
    },
  }
}

/** Of a fleet that has learned its pace. */
async function settledFleet() {
  const fleet = await startFleet()
  for (let jobs = 0; jobs < 25; jobs += 1) {
    await fleet.put()
    await fleet.pass(everyMs)
  }
  return fleet
}

test('fleet: an insert every 400 ms costs 64 processes less than 15 statements, and starts at once', async () => {
  const { statements, waitsMs, put, pass } = await settledFleet()
  waitsMs.splice(0)
  Object.assign(statements, { claims: 0, dozes: 0 })
  const jobs = 50
  for (let n = 0; n < jobs; n += 1) {
    await put()
    await pass(everyMs)
  }
  // Each job is settled once.
  const perJob = (statements.claims + statements.dozes) / jobs + 1
  console.log(`fleet: ${statements.claims / jobs} claims and ${statements.dozes / jobs} counts a job`)
  expect(perJob).toBeLessThan(15)
  expect(waitsMs).toHaveLength(jobs)
  expect(Math.max(...waitsMs)).toBeLessThanOrEqual(4 * hopMs)
})

test('fleet: where those that were awake are gone, a reserve starts the next job within 100 ms', async () => {
  const { waitsMs, dozing, put, pass, kill } = await settledFleet()
  kill(Array.from({ length: size }, (_, id) => id).filter((id) => !dozing.has(id)))
  waitsMs.splice(0)
  await put()
  await pass(everyMs)
  expect(waitsMs).toHaveLength(1)
  expect(waitsMs[0]).toBeLessThanOrEqual(100 + 2 * hopMs)
})

test('fleet: where all but a few are gone, a heartbeat tells these, and the job starts then', async () => {
  const { waitsMs, dozing, put, pass, kill } = await settledFleet()
  const survivors = [...dozing].sort((a, b) => a - b).slice(-3)
  kill(Array.from({ length: size }, (_, id) => id).filter((id) => !survivors.includes(id)))
  waitsMs.splice(0)
  await put()
  await pass(1_666 + 2 * hopMs)
  expect(waitsMs).toHaveLength(1)
  await put()
  await pass(everyMs)
  expect(waitsMs[1]).toBeLessThanOrEqual(4 * hopMs)
})

/** A linear congruential generator: numbers from 0 up to 1. */
function createRandom(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}
