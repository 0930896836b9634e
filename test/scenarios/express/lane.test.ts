import pg from 'pg'
import { expect, onTestFinished } from 'vitest'
import { test } from '../../support/database.js'
import { ackAll, idsOf, openLane, putRows } from '../../support/express.js'

// The express lane, without a consumer: the test begins and ends the jobs.

test('express: jobs are locked while they run, and gone with one commit', async ({ db }) => {
  const ids = await putRows(db, 3)
  const { started, over, acked, lane } = await openLane(db)
  const jobs = await started()
  expect(idsOf(jobs)).toEqual(ids)
  expect(lane).toMatchObject({ state: 'running', jobs: 3 })
  // Nobody else can have them, and they look as they were.
  expect(await db.sql.unsafe(`select id from ${db.s}.job for update skip locked`)).toEqual([])
  expect(await db.jobs()).toMatchObject([1, 2, 3].map((payload) => ({ payload, state: 'ready', attempt: 0 })))
  ackAll(jobs)
  expect(await over).toEqual({ is: 'closed' })
  expect(acked).toEqual(ids.map((id) => [id, 'durable']))
  expect(await db.jobs()).toEqual([])
  expect(lane).toMatchObject({ state: 'closed', jobs: 0 })
})

test('express: a job of its own is claimed and acked: the transaction is known', async ({ db }) => {
  const [id] = await putRows(db, 1)
  const { started, over, acked } = await openLane(db)
  ackAll(await started())
  expect(await over).toEqual({ is: 'closed' })
  expect(acked).toEqual([[id, 'durable']])
  expect(await db.jobs()).toEqual([])
})

test('express: the next claim goes with the commit, until there is none to be sent', async ({ db }) => {
  const ids = await putRows(db, 5)
  const { started, over, acked } = await openLane(db, { claims: 3, limit: 2 })
  for (const count of [2, 2, 1]) {
    const jobs = await started()
    expect(jobs).toHaveLength(count)
    ackAll(jobs)
  }
  expect(await over).toEqual({ is: 'closed' })
  expect(acked).toEqual(ids.map((id) => [id, 'durable']))
  expect(await db.jobs()).toEqual([])
})

test('express: at the cut the acked are deleted, the begun run on, and the others are free', async ({ db }) => {
  const [acks = '', runs = '', fails = '', waits = ''] = await putRows(db, 4)
  const { started, over, acked, lost, lane } = await openLane(db)
  const [first, second, third, fourth] = await started()
  for (const job of [first, second, third]) expect(job?.begin()).toBe(true)
  expect(first?.ack()).toBe(true)
  const third_ = third?.keep()
  await lane.close()
  expect(await over).toEqual({ is: 'closed' })
  expect(acked).toEqual([[acks, 'durable']])
  expect(await third_).toBe(true)
  expect(await second?.keep()).toBe(true)
  expect(lost).toEqual([])
  // It ends now: its ack goes another way.
  expect(second?.ack()).toBe(false)
  expect(fourth?.begin()).toBe(false)
  expect(await db.jobs()).toMatchObject([
    { id: runs, state: 'running', attempt: 1, worker_id: '7', lease: second?.claimed.lease },
    { id: fails, state: 'running', attempt: 1, worker_id: '7', lease: third?.claimed.lease },
    { id: waits, state: 'ready', attempt: 0, worker_id: null, lease: '0' },
  ])
  // What was let go of was locked by a transaction that has committed: the next lane takes it.
  const next = await openLane(db)
  expect(idsOf(await next.started())).toEqual([waits])
})

test('express: a batch is written 20 ms after its claim, whatever runs', async ({ db }) => {
  const [id] = await putRows(db, 1)
  const { started, over } = await openLane(db, { mostMs: 20 })
  const [job] = await started()
  job?.begin()
  expect(await job?.keep()).toBe(true)
  expect(await over).toEqual({ is: 'closed' })
  expect(await db.jobs()).toMatchObject([{ id, state: 'running', lease: job?.claimed.lease }])
})

test('express: a job that is kept for its handler’s own transaction is free of the lane after a cut', async ({
  db,
}) => {
  const [id, other] = await putRows(db, 2)
  const { started, acked, lane, over } = await openLane(db, { claims: 2 })
  const [job, second] = await started()
  job?.begin()
  second?.begin()
  const kept = job?.keep()
  lane.cut()
  expect(await kept).toBe(true)
  // Its row is not locked any more, and names the lease that the handler's transaction will.
  await db.sql.begin(async (tx) => {
    await tx`set local lock_timeout = '1s'`
    const deleted = await tx.unsafe(`delete from ${db.s}.job where id = ${id} and lease = ${job?.claimed.lease}`)
    expect(deleted.count).toBe(1)
  })
  expect(await second?.keep()).toBe(true)
  expect(await over).toEqual({ is: 'closed' })
  expect(acked).toEqual([])
  expect(await db.jobs()).toMatchObject([{ id: other, state: 'running' }])
})

test('express: a claim that finds nothing ends in order, and has taken nothing', async ({ db }) => {
  const { over, lane } = await openLane(db)
  expect(await over).toEqual({ is: 'closed' })
  expect(lane.jobs).toBe(0)
})

test('express: a close while the claim is on its way lets its rows go by a commit', async ({ db }) => {
  const ids = await putRows(db, 2)
  let started = 0
  const { over, lane } = await openLane(db, {
    onStart: () => {
      started += 1
    },
    disguise: (session) => ({
      ...session,
      lost: null,
      exchange(statements) {
        void lane.close()
        return session.exchange(statements)
      },
    }),
  })
  expect(await over).toEqual({ is: 'closed' })
  expect(started).toBe(0)
  const next = await openLane(db)
  expect(idsOf(await next.started())).toEqual(ids)
})

test('express: an application’s own parsers of bigint and JSON are not the lane’s', async ({ db }) => {
  const { INT8, JSON: json, JSONB } = pg.types.builtins
  for (const type of [INT8, json, JSONB]) {
    const before = pg.types.getTypeParser(type)
    onTestFinished(() => pg.types.setTypeParser(type, before))
    pg.types.setTypeParser(type, () => 'parsed by the application')
  }
  const ids = await putRows(db, 2)
  await db.sql.unsafe(`update ${db.s}.job set attempt = 2, progress = '[1]' where id = ${ids[1]}`)
  const { started, over, acked } = await openLane(db)
  const jobs = await started()
  expect(idsOf(jobs)).toEqual(ids)
  expect(jobs[1]?.claimed.job).toMatchObject({ attempt: 3, payload: 2, progress: [1] })
  ackAll(jobs)
  expect(await over).toEqual({ is: 'closed' })
  expect(acked).toEqual(ids.map((id) => [id, 'durable']))
})
