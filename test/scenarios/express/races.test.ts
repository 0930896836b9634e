import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import type { ExpressJob } from '../../../src/consume/express/batch.js'
import { claimJobs, writeOutcomes } from '../../../src/consume/statements.js'
import { type TestDatabase, test } from '../../support/database.js'
import { insertWorker, type LaneUnderTest, openLane, putRows } from '../../support/express.js'
import { operator } from '../../support/operator.js'

const choice = { queue: 'q', kinds: null, withoutFlags: [] }

/** Three lanes and a consumer with durable claims empty a queue. `disturb` is called over and over meanwhile. */
async function emptied(db: TestDatabase, jobs: number, disturb: (lanes: readonly LaneUnderTest[]) => Promise<unknown>) {
  const ids = await putRows(db, jobs)
  const { database } = operator(db)
  await database.ready()
  const runs = new Map<string, number>()
  const told = new Map<string, number>()
  const stale: string[] = []
  const lanes = new Map<string, LaneUnderTest>()
  let isEmpty = false
  const count = (counts: Map<string, number>, id: string) => void counts.set(id, (counts.get(id) ?? 0) + 1)

  async function settle(id: string, lease: string, workerId: string): Promise<void> {
    const missed = await writeOutcomes(database.query, [{ id, lease, workerId, ending: { is: 'acked' } }])
    if (missed.length === 0) count(told, id)
    else stale.push(id)
  }

  async function runExpress(job: ExpressJob): Promise<void> {
    if (!job.begin()) return
    const { lease, workerId } = job.claimed
    const { id } = job.claimed.job
    count(runs, id)
    await sleep(Math.random() < 0.5 ? 0 : Math.random() * 8)
    if (Math.random() < 0.9 && job.ack()) return
    if (await job.keep()) await settle(id, lease, workerId)
  }

  async function laneAfterLane(workerId: string): Promise<void> {
    const under: Promise<unknown>[] = []
    while (!isEmpty) {
      const lane = await openLane(db, {
        database,
        workerId,
        claims: 20,
        limit: 1 + Math.floor(Math.random() * 60),
        mostMs: 5,
        onStart: (started) => void under.push(...started.map(runExpress)),
      })
      lanes.set(workerId, lane)
      if (Math.random() < 0.3) void sleep(Math.random() * 20).then(() => lane.lane.close())
      await lane.over
      for (const [id, is] of lane.acked) {
        if (is === 'durable') count(told, id)
        else stale.push(id)
      }
    }
    await Promise.all(under)
  }

  async function claimAfterClaim(): Promise<void> {
    await insertWorker(db, '99')
    while (!isEmpty) {
      const { claimed } = await claimJobs(database, choice, 5, '99', { acks: [], from: null, proves: false })
      for (const { job, lease } of claimed.jobs) {
        count(runs, job.id)
        await settle(job.id, lease, '99')
      }
    }
  }

  async function watch(): Promise<void> {
    while (!isEmpty) {
      await disturb([...lanes.values()])
      const [row] = await db.sql.unsafe<{ left: number }[]>(`select count(*)::int as left from ${db.s}.job`)
      isEmpty = row?.left === 0
    }
  }

  await Promise.all([watch(), claimAfterClaim(), ...['7', '8', '9'].map(laneAfterLane)])
  return { ids, runs, told, stale }
}

test('express: three lanes and a consumer beside them run each job once', async ({ db }) => {
  const { ids, runs, told, stale } = await emptied(db, 1_500, () => sleep(5))
  expect([...runs.keys()].toSorted()).toEqual(ids.toSorted())
  expect([...runs.values()].filter((times) => times !== 1)).toEqual([])
  expect([...told.keys()].toSorted()).toEqual(ids.toSorted())
  expect([...told.values()].filter((times) => times !== 1)).toEqual([])
  expect(stale).toEqual([])
})

test('express: with sessions killed at random each job is settled, and none is lost', async ({ db }) => {
  const { ids, runs, told } = await emptied(db, 1_500, async (lanes) => {
    await sleep(Math.random() * 20)
    const lane = lanes[Math.floor(Math.random() * lanes.length)]
    if (lane?.lane.state !== 'closed' && lane?.lane.state !== 'opening' && lane !== undefined) {
      await db.sql`select pg_terminate_backend(${lane.session().pid})`
    }
  })
  expect([...runs.keys()].toSorted()).toEqual(ids.toSorted())
  expect([...told.keys()].toSorted()).toEqual(ids.toSorted())
  // Whoever settles a job has run it.
  for (const id of ids) expect(runs.get(id)).toBeGreaterThanOrEqual(told.get(id) ?? 0)
})
