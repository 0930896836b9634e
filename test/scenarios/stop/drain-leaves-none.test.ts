import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect } from 'vitest'
import { type Bugle, type Outcome, reject, retry } from '../../../src/index.js'
import { type JobRow, signal, type TestDatabase } from '../../support/database.js'
import { debugLines } from '../../support/debug-lines.js'
import { type Gate, test } from '../../support/gates.js'
import { type HeldClaims, holdAnswers } from '../../support/held-claims.js'
import { gate as heldRows } from '../../support/held-rows.js'
import { fence, isPending, nothing, withoutHeartbeat } from '../../support/stopping.js'
import { until } from '../../support/until.js'

for (const prefetch of [0, 'earned'] as const) {
  test(`E11 drain (prefetch ${prefetch}) leaves none that goes back at once or that a handler puts at its end`, async ({
    db,
  }) => {
    const bugle = db.bugle()
    for (let round = 0; round < 3; round += 1) {
      await bugle.putMany(
        'q',
        Array.from({ length: 60 }, () => 3),
      )
      const report = await bugle.drain(
        'q',
        async (job) => {
          if (job.attempt < 3) return retry({ delayMs: 0 })
          if (Number(job.payload) > 0) await bugle.put('q', Number(job.payload) - 1)
        },
        { concurrency: 8, prefetch },
      )
      expect(report).toMatchObject({ completed: 240, failed: 0 })
      expect(await db.jobs()).toEqual([])
    }
  })
}

/** The run of the job `is the last`: it makes a job ready. */
interface LastRun {
  /** Makes a job ready once `goOn` is open, unless the hook does. */
  readonly handler: (bugle: Bugle, goOn: Gate) => Promise<Outcome>
  readonly onFailed?: (bugle: Bugle, goOn: Gate) => Promise<void>
}

const lastRuns: Record<string, LastRun> = {
  'a job that goes back without a delay': {
    handler: async (_bugle, goOn) => {
      await goOn.promise
      return retry({ delayMs: 0 })
    },
  },
  'a job that a handler puts before its own fails': {
    handler: async (bugle, goOn) => {
      await goOn.promise
      await bugle.put('q', 'put')
      return reject('enough')
    },
  },
  'a job that a hook puts': {
    handler: async () => reject('enough'),
    onFailed: async (bugle, goOn) => {
      await goOn.promise
      await bugle.put('q', 'put')
    },
  },
}

/** When that run begins, seen from the last claim, which finds nothing ready. */
const beginnings = ['before that is asked for', 'by the claim before it'] as const

for (const [what, { handler, onFailed }] of Object.entries(lastRuns)) {
  for (const beginning of beginnings) {
    test(`E11 drain leaves no job that is made ready during a claim, by a run begun ${beginning}: ${what}`, async ({
      db,
      gate,
    }) => {
      const claims = await holdAnswers(db.connectionString)
      const bugle = heldBugle(db, claims)
      const ends = [db.collect(bugle, 'job:retrying'), db.collect(bugle, 'job:failed')]
      const [goOn, freeSlot] = [gate(), gate()]
      if (beginning === 'before that is asked for') await db.bugle().put('q', 'is the last')
      const drained = bugle.drain(
        'q',
        async ({ payload, attempt }) => {
          if (payload === 'frees a slot') await freeSlot.promise
          if (payload === 'is the last' && attempt === 1) return handler(bugle, goOn)
        },
        { concurrency: 2, prefetch: 0, onFailed: () => onFailed?.(bugle, goOn) },
      )
      const first = await claims.next()
      if (beginning === 'by the claim before it') {
        await db.bugle().putMany('q', ['frees a slot', 'is the last'])
        first.answer()
        const full = await claims.next()
        full.answer()
        freeSlot.resolve()
      } else first.answer()
      const nothingReady = await claims.next()
      expect(await readyJobs(db)).toEqual([])
      goOn.resolve()
      await Promise.race(ends.map((end) => end.next()))
      await until(async () => (await readyJobs(db)).length > 0)
      claims.open()
      nothingReady.answer()
      await drained
      expect(await readyJobs(db)).toEqual([])
    })
  }
}

test('E11 drain waits for a hook of its last run, and runs what that puts', async ({ db, gate }) => {
  const bugle = db.bugle()
  await bugle.put('q', 'fails')
  const [begun, goOn] = [signal(), gate()]
  const drained = bugle.drain('q', ({ payload }) => (payload === 'fails' ? reject('enough') : undefined), {
    onFailed: async () => {
      begun.resolve()
      await goOn.promise
      await bugle.put('q', 'put')
    },
  })
  await begun.promise
  await fence(db)
  expect(await isPending(drained)).toBe(true)
  goOn.resolve()
  expect(await drained).toEqual({ ...nothing, completed: 1, failed: 1 })
  expect(await readyJobs(db)).toEqual([])
})

test("E11 until: 'scheduled' runs a job made ready between an empty claim and the look at what is scheduled", async ({
  db,
}) => {
  const claims = await holdAnswers(db.connectionString)
  const bugle = heldBugle(db, claims)
  const id = await db.bugle().put('q', 1, { delayMs: 3_600_000 })
  const drained = bugle.drain('q', () => {}, { until: 'scheduled' })
  const first = await claims.next()
  first.answer()
  const nothingReady = await claims.next()
  await db.sql.unsafe(`update ${db.s}.job set state = 'ready', run_at = now() where id = $1`, [id])
  claims.open()
  nothingReady.answer()
  expect(await drained).toEqual({ ...nothing, completed: 1 })
  expect(await db.jobs()).toEqual([])
})

test(
  'E11 drain runs a due job that its own promotion has made ready after a claim saw nothing ready, and before its ' +
    'answer',
  async ({ db }) => {
    const promotions = debugLines('bugle:due')
    const claims = await holdAnswers(db.connectionString)
    const bugle = heldBugle(db, claims)
    const [, locked] = await db.bugle().putMany('q', ['free', 'locked'], { delayMs: 3_600_000 })
    await db.sql.unsafe(`update ${db.s}.job set run_at = now() - interval '1 s'`)
    const promotion = await heldRows(db, 'update', "old.state = 'scheduled'")
    const holder = db.connect()
    await holder`begin`
    await holder.unsafe(`select from ${db.s}.job where id = $1 for update`, [locked ?? ''])
    const drained = bugle.drain('q', () => {})
    const first = await claims.next()
    first.answer()
    const nothingReady = await claims.next()
    await promotion.isWaitedFor()
    await promotion.open()
    // The locked job stays overdue and is tried again later: no promotion is in flight when the claim is answered.
    while (!promotions.some((line) => line.includes('1 due jobs are ready'))) await nextTurn()
    claims.open()
    nothingReady.answer()
    expect(await drained).toEqual({ ...nothing, completed: 1 })
    expect(await db.jobs()).toMatchObject([{ payload: 'locked', state: 'scheduled' }])
  },
)

/**
 * An instance whose claims are held. It hears of no job: it claims only when its drain wants to see the queue empty, or
 * when a slot is free.
 */
function heldBugle(db: TestDatabase, claims: HeldClaims): Bugle {
  const bugle = db.bugle({ connectionString: claims.connectionString, listen: false, ...withoutHeartbeat })
  claims.hold(bugle, 'q')
  return bugle
}

async function readyJobs(db: TestDatabase): Promise<JobRow[]> {
  return (await db.jobs()).filter(({ state }) => state === 'ready')
}
