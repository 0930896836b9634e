import { expect } from 'vitest'
import { type LaneSession, openLaneSession } from '../../../src/consume/express/lane-session.js'
import { type TestDatabase, test } from '../../support/database.js'
import { ackAll, idsOf, openLane, putRows } from '../../support/express.js'
import { heldProxy } from '../../support/held-proxy.js'
import { startProxy } from '../../support/proxy.js'
import { until } from '../../support/until.js'

// A lane whose commit is not known, or known not to be: its acks and its kept jobs are written alone.

const reset = new Error('the connection was reset')

/** Rows that a transaction of others holds. */
async function lockedRows(db: TestDatabase): Promise<number> {
  const [row] = await db.sql.unsafe<{ locked: number }[]>(`
    select (select count(*) from ${db.s}.job)::int - count(*)::int as locked
    from (select from ${db.s}.job for update skip locked) as free`)
  return row?.locked ?? 0
}

test('express: a commit that is answered with ROLLBACK is none: its acks go alone', async ({ db }) => {
  const [id = '', runs = ''] = await putRows(db, 2)
  const { started, over, acked, lost } = await openLane(db, {
    statements: (statements) => ({ ...statements, express_commit: 'rollback' }),
  })
  const [job, other] = await started()
  job?.begin()
  other?.begin()
  job?.ack()
  expect(await other?.keep()).toBe(true)
  expect(await over).toMatchObject({ is: 'lost' })
  expect(acked).toEqual([[id, 'durable']])
  expect(lost).toEqual([])
  expect(await db.jobs()).toMatchObject([{ id: runs, state: 'running', attempt: 1, lease: other?.claimed.lease }])
})

test('express: the answer to a commit is lost: what it has written is told, and not written again', async ({ db }) => {
  const proxy = await heldProxy(db)
  const [id = '', runs = '', waits = ''] = await putRows(db, 3)
  const { started, over, acked, lost, session, lane } = await openLane(db, {
    connectionString: proxy.connectionString,
  })
  const [job, other] = await started()
  job?.begin()
  other?.begin()
  job?.ack()
  const kept = other?.keep()
  const sent = proxy.holdAnswersTo('express_commit')
  lane.cut()
  await sent
  await until(async () => (await db.jobs()).length === 2)
  session().destroy(reset)
  expect(await over).toEqual({ is: 'lost', error: reset })
  expect(await kept).toBe(true)
  expect(acked).toEqual([[id, 'durable']])
  expect(lost).toEqual([])
  expect(await db.jobs()).toMatchObject([
    // Once, and not twice.
    { id: runs, state: 'running', attempt: 1, lease: other?.claimed.lease },
    { id: waits, state: 'ready', attempt: 0 },
  ])
})

test('express: a commit is lost on its way: the server process is ended, and all of it is written alone', async ({
  db,
}) => {
  const { hostname, port } = new URL(db.connectionString)
  const proxy = await startProxy({ host: hostname, port: Number(port) })
  const url = new URL(db.connectionString)
  url.port = String(proxy.port)
  const [id = '', runs = '', waits = ''] = await putRows(db, 3)
  const { started, over, acked, lost, session, lane } = await openLane(db, { connectionString: url.href })
  const [job, other] = await started()
  job?.begin()
  other?.begin()
  job?.ack()
  const kept = other?.keep()
  // The server hears nothing of it, and waits in its transaction.
  proxy.freeze()
  lane.cut()
  await until(() => lane.state === 'writing')
  expect(await lockedRows(db)).toBe(3)
  session().destroy(reset)
  expect(await over).toEqual({ is: 'lost', error: reset })
  expect(await kept).toBe(true)
  expect(acked).toEqual([[id, 'durable']])
  expect(lost).toEqual([])
  expect(await db.jobs()).toMatchObject([
    { id: runs, state: 'running', attempt: 1, lease: other?.claimed.lease },
    { id: waits, state: 'ready', attempt: 0 },
  ])
  await proxy.close()
})

test('express: the session is killed between claim and write: acks go alone, the others are free', async ({ db }) => {
  const [id = '', runs = '', waits = ''] = await putRows(db, 3)
  const { started, over, acked, session } = await openLane(db)
  const [job, other, third] = await started()
  job?.begin()
  other?.begin()
  job?.ack()
  await db.kill([session().pid])
  expect(await over).toMatchObject({ is: 'lost' })
  expect(third?.begin()).toBe(false)
  expect(await other?.keep()).toBe(true)
  expect(acked).toEqual([[id, 'durable']])
  expect(await db.jobs()).toMatchObject([
    { id: runs, state: 'running', attempt: 1, lease: other?.claimed.lease },
    { id: waits, state: 'ready', attempt: 0 },
  ])
})

test('express: a write that meets another connection deletes nothing there', async ({ db }) => {
  const ids = await putRows(db, 3)
  let other: LaneSession | undefined
  // As a driver that connects again by itself.
  const { started, over, acked, session, lane } = await openLane(db, {
    hearsLoss: false,
    disguise: (first, database) => ({
      pid: first.pid,
      started: first.started,
      lost: null,
      end: () => first.end(),
      destroy: (why) => {
        first.destroy(why)
        other?.destroy(why)
      },
      exchange(statements) {
        if (statements[0]?.name === 'express_begin') return first.exchange(statements)
        const opened = openLaneSession(database, 60_000, () => {}).then((again) => {
          other = again
          return again.exchange(statements)
        })
        const answers = statements.map(async (_, at) => (await opened)[at] ?? Promise.reject(reset))
        for (const answer of answers) answer.catch(() => {})
        return answers
      },
    }),
  })
  const jobs = await started()
  expect(idsOf(jobs)).toEqual(ids)
  const stay = jobs.map((job) => job.asClaimed.place)
  await db.kill([session().pid])
  // Other jobs lie now where those lay, and have never run.
  await db.sql.unsafe(`truncate ${db.s}.job`)
  const never = await putRows(db, 3)
  const places = await db.sql.unsafe<{ ctid: string }[]>(`select ctid::text as ctid from ${db.s}.job order by id`)
  expect(places.map(({ ctid }) => ctid)).toEqual(stay)
  ackAll(jobs)
  lane.cut()
  expect(await over).toMatchObject({ is: 'failed', error: { code: '22012' } })
  // Their rows are gone, whoever has deleted them.
  expect(acked.map(([id]) => id).sort()).toEqual(ids)
  expect((await db.jobs()).map(({ id }) => id)).toEqual(never)
})

test('express: the claim that went with a commit is void when the commit is not known', async ({ db }) => {
  const [id = '', next = ''] = await putRows(db, 2)
  const { started, over, acked, lane } = await openLane(db, {
    claims: 2,
    limit: 1,
    statements: (statements) => ({ ...statements, express_commit: 'rollback' }),
  })
  ackAll(await started())
  expect(await over).toMatchObject({ is: 'lost' })
  expect(acked).toEqual([[id, 'durable']])
  expect(lane.jobs).toBe(0)
  expect(await db.jobs()).toMatchObject([{ id: next, state: 'ready', attempt: 0 }])
  await until(async () => (await lockedRows(db)) === 0)
})

test('express: a server process that has not heard that its lane is lost is ended, and its rows are free', async ({
  db,
}) => {
  const [id = '', runs = ''] = await putRows(db, 2)
  const { started, over, acked } = await openLane(db, {
    // As where a machine in between has forgotten the connection: the server waits on.
    disguise: (session) => ({
      pid: session.pid,
      started: session.started,
      lost: null,
      end: () => session.end(),
      destroy: () => {},
      exchange(statements) {
        if (statements[0]?.name === 'express_begin') return session.exchange(statements)
        const answers = statements.map(() => Promise.reject(reset))
        for (const answer of answers) answer.catch(() => {})
        return answers
      },
    }),
  })
  const [job, other] = await started()
  job?.begin()
  other?.begin()
  job?.ack()
  expect(await other?.keep()).toBe(true)
  expect(await over).toEqual({ is: 'lost', error: reset })
  expect(acked).toEqual([[id, 'durable']])
  expect(await db.jobs()).toMatchObject([{ id: runs, state: 'running' }])
})
