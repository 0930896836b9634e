import { expect, test } from 'vitest'
import { createDraining, type DrainingParts } from '../../../../src/consume/claim/draining.js'
import { createQuota } from '../../../../src/consume/claim/quota.js'
import type { ClaimedJob } from '../../../../src/consume/claimed-job.js'
import { signal } from '../../../support/signal.js'
import { isPending } from '../../../support/stopping.js'

const job = { job: { id: '1' } } as ClaimedJob

/** A queue that the test empties, in a consumer whose runs it ends. */
function drainingUnderTest(overrides: Partial<DrainingParts> = {}) {
  const asked: ReturnType<typeof signal<void>>[] = []
  let beside = signal()
  beside.resolve()
  let over = signal()
  let isStill = true
  const inFlight = { everClaimed: 0 }
  const draining = createDraining({
    quota: createQuota(null),
    inFlight,
    seenEmpty: () => {
      const claim = signal()
      asked.push(claim)
      return claim.promise
    },
    besideAnswered: () => beside.promise,
    isQueuePaused: () => false,
    isStill: () => isStill,
    runsOver: () => (isStill ? Promise.resolve() : over.promise),
    isStopping: () => false,
    nextScheduled: async () => null,
    onError: (error) => expect.unreachable(error.message),
    ...overrides,
  })
  return {
    draining,
    claim() {
      inFlight.everClaimed += 1
    },
    /** How often it has asked to see the queue empty, after all that could have made it. */
    async asked(): Promise<number> {
      await new Promise((resolve) => setImmediate(resolve))
      return asked.length
    },
    seeEmpty: () => asked.at(-1)?.resolve(),
    /** @returns its answer */
    claimBeside() {
      beside = signal()
      return beside.resolve
    },
    begin() {
      isStill = false
      over = signal()
    },
    end() {
      isStill = true
      over.resolve()
    },
  }
}

test('where nothing runs, one claim that sees the queue empty is enough', async () => {
  const { draining, asked, seeEmpty } = drainingUnderTest()
  const drained = draining.drained('ready')
  expect(await isPending(drained)).toBe(true)
  seeEmpty()
  await drained
  expect(await asked()).toBe(1)
})

test('a claim that was asked for while something ran proves nothing: one more follows when that is over', async () => {
  const { draining, asked, seeEmpty, begin, end } = drainingUnderTest()
  begin()
  const drained = draining.drained('ready')
  seeEmpty()
  expect(await asked()).toBe(1)
  end()
  expect(await asked()).toBe(2)
  expect(await isPending(drained)).toBe(true)
  seeEmpty()
  await drained
})

test('nor does one during which a job was claimed, though its run is over', async () => {
  const { claim, draining, asked, seeEmpty } = drainingUnderTest()
  const drained = draining.drained('ready')
  claim()
  seeEmpty()
  expect(await asked()).toBe(2)
  expect(await isPending(drained)).toBe(true)
  seeEmpty()
  await drained
})

test('nor one before which a claim beside it has taken a job, though that is answered later', async () => {
  const { claim, draining, asked, seeEmpty, claimBeside } = drainingUnderTest()
  const drained = draining.drained('ready')
  const answerBeside = claimBeside()
  seeEmpty()
  expect(await asked()).toBe(1)
  expect(await isPending(drained)).toBe(true)
  claim()
  answerBeside()
  expect(await asked()).toBe(2)
  expect(await isPending(drained)).toBe(true)
  seeEmpty()
  await drained
})

test('with a limit it tells of each job, and is done when those have run, whatever is left', async () => {
  const claimed: string[] = []
  const quota = createQuota({ jobs: 2, onClaimed: ({ id }) => void claimed.push(id) })
  const { draining, begin, end } = drainingUnderTest({ quota })
  const drained = draining.drained('ready')
  expect(quota.left).toBe(2)
  begin()
  quota.claimed([job])
  expect(quota.left).toBe(1)
  quota.claimed([job])
  expect(quota.left).toBe(0)
  expect(await isPending(drained)).toBe(true)
  end()
  await drained
  expect(claimed).toEqual(['1', '1'])
})
