import { expect } from 'vitest'
import { announceLane } from '../../../src/consume/express/statements.js'
import type { Database } from '../../../src/database/database.js'
import { type TestDatabase, test } from '../../support/database.js'
import { idsOf, insertWorker, openLane, putRows } from '../../support/express.js'
import { transaction } from '../../support/open-transaction.js'
import { operator } from '../../support/operator.js'
import { until } from '../../support/until.js'

// A worker that had a lane is found dead: for some time nobody has a lane on its queues.

async function databaseOf(db: TestDatabase): Promise<Database> {
  const { database } = operator(db)
  await database.ready()
  return database
}

async function bury(db: TestDatabase, database: Database, id = '7'): Promise<unknown[]> {
  const [row] = await db.sql.unsafe<{ seen: string }[]>(`
    select to_char(seen_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') as seen
    from ${db.s}.worker
    where id = ${id}`)
  return database.query('worker_bury', [id, row?.seen ?? ''])
}

/** Of each queue: for how long it was made calm, and for how many minutes it still is, the last one included. */
async function calm(db: TestDatabase): Promise<Record<string, [ms: number | null, left: number | null]>> {
  const rows = await db.sql.unsafe<{ name: string; calm_ms: number | null; left: number | null }[]>(`
    select name, calm_ms, ceil(extract(epoch from calm_until - now()) / 60)::int as left from ${db.s}.queue`)
  return Object.fromEntries(rows.map(({ name, calm_ms, left }) => [name, [calm_ms, left]]))
}

test('calm: the burial of a worker makes the queues calm on which it had a lane', async ({ db }) => {
  const database = await databaseOf(db)
  await insertWorker(db, '7')
  await insertWorker(db, '8')
  await db.sql.unsafe(`insert into ${db.s}.queue (name, paused_at) values ('paused', now()), ('other', null)`)
  for (const queue of ['q', 'paused', 'q']) expect(await announceLane(database.query, '7', queue, 3)).toBe(true)
  expect(await db.sql.unsafe(`select lanes from ${db.s}.worker where id = 7`)).toEqual([{ lanes: ['q', 'paused'] }])
  expect(await announceLane(database.query, '9', 'q', 3)).toBe(false)
  expect(await bury(db, database, '8')).toEqual([{ id: '8' }])
  expect(await calm(db)).toEqual({ other: [null, null], paused: [null, null] })
  expect(await bury(db, database)).toEqual([{ id: '7' }])
  expect(await calm(db)).toEqual({ other: [null, null], paused: [60_000, 1], q: [60_000, 1] })
  expect(await db.sql.unsafe(`select from ${db.s}.queue where paused_at is not null`)).toHaveLength(1)
})

for (const [before, after] of [
  // It has ended for less than it took: twice as long. For longer: a minute.
  [
    [60_000, -30],
    [120_000, 2],
  ],
  [
    [60_000, -90],
    [60_000, 1],
  ],
  [
    [2_400_000, -30],
    [3_600_000, 60],
  ],
  [
    [3_600_000, -3_000],
    [3_600_000, 60],
  ],
  // It has not: those deaths may have one cause. It begins anew.
  [
    [120_000, 30],
    [120_000, 2],
  ],
  [
    [60_000, 1_000],
    [60_000, 17],
  ],
  [
    [null, 30],
    [60_000, 1],
  ],
  // Written by hand.
  [
    [-5, -1],
    [60_000, 1],
  ],
  [
    [2_147_483_647, -1],
    [3_600_000, 60],
  ],
] as const) {
  test(`calm: of ${before[0]} ms, for ${before[1]} s more: the next burial makes it ${after[0]} ms`, async ({ db }) => {
    const database = await databaseOf(db)
    await insertWorker(db, '7')
    await announceLane(database.query, '7', 'q', 3)
    await db.sql.unsafe(`
      insert into ${db.s}.queue (name, calm_ms, calm_until)
      values ('q', ${before[0]}, now() + ${before[1]} * interval '1 s')`)
    await bury(db, database)
    expect(await calm(db)).toEqual({ q: after })
  })
}

test('calm: a burial waits for nobody who has locked a queue’s row, and fails for no name', async ({ db }) => {
  const database = await databaseOf(db)
  await insertWorker(db, '7')
  for (const queue of ['locked', 'q', '', 'x'.repeat(200)]) await announceLane(database.query, '7', queue, 3)
  await db.sql.unsafe(`insert into ${db.s}.queue (name) values ('locked')`)
  const end = await transaction(db, `update ${db.s}.queue set paused_at = now() where name = 'locked'`)
  expect(await bury(db, database)).toEqual([{ id: '7' }])
  await end('commit')
  expect(await calm(db)).toEqual({ locked: [null, null], q: [60_000, 1] })
})

test('calm: nobody is notified of it', async ({ db }) => {
  const database = await databaseOf(db)
  await insertWorker(db, '7')
  await announceLane(database.query, '7', 'q', 3)
  await announceLane(database.query, '7', 'new', 3)
  await db.sql.unsafe(`insert into ${db.s}.queue (name, paused_at) values ('q', now())`)
  const [{ channel = '' } = {}] = await db.sql.unsafe<{ channel: string }[]>(
    `select 'bugle_' || '${db.s}.job'::regclass::oid as channel`,
  )
  const heard: string[] = []
  const listener = db.connect()
  await listener.listen(channel, (payload) => heard.push(payload))
  await bury(db, database)
  await db.sql`select pg_notify(${channel}, 'the end')`
  while (heard.at(-1) !== 'the end') await new Promise((resolve) => setImmediate(resolve))
  expect(heard).toEqual(['the end'])
})

test('calm: a job under which a lane’s process died is not taken by another lane, also after a vacuum', async ({
  db,
}) => {
  const [poison = ''] = await putRows(db, 1)
  const database = await databaseOf(db)
  let isDead = false
  const dead = new Promise<never>(() => {})
  const first = await openLane(db, {
    dies: true,
    query:
      (query) =>
      (...sent) =>
        isDead ? dead : query(...sent),
  })
  const [job] = await first.started()
  job?.begin()
  isDead = true
  await db.kill([first.session().pid])
  const found = async (): Promise<string[]> => {
    const next = await openLane(db, { workerId: '8' })
    const jobs = await Promise.race([next.started(), next.over.then(() => [])])
    await next.lane.close()
    return idsOf(jobs)
  }
  // By its mark.
  expect(await found()).toEqual([])
  await bury(db, database)
  // As a plain one may do from PostgreSQL 16 on; and not before the transactions of other tests have ended.
  await until(async () => {
    await db.sql.unsafe(`vacuum (freeze) ${db.s}.job`)
    const [row] = await db.sql.unsafe<{ xmax: string }[]>(`select xmax::text as xmax from ${db.s}.job`)
    return row?.xmax === '0'
  })
  // The mark is gone, and the queue is calm.
  expect(await found()).toEqual([])
  // A durable claim takes it, and its death is counted. From then on no lane does, however calm the queue was.
  const claim = ['q', 10, '8', null, null, null, '0', 'false', 'false']
  expect(await database.query('claim', claim)).toMatchObject([{ id: poison }, { id: null }])
  await bury(db, database, '8')
  await database.query('rescue', [3, 500, null, 'true'])
  await db.sql.unsafe(`update ${db.s}.queue set calm_until = now()`)
  expect(await db.sql.unsafe(`select id, state, crashes from ${db.s}.job`)).toEqual([
    { id: poison, state: 'ready', crashes: 1 },
  ])
  expect(await found()).toEqual([])
})

test('express: four workers may have a lane on one queue; the fifth may when one of them is gone', async ({ db }) => {
  const database = await databaseOf(db)
  for (const id of ['1', '2', '3', '4', '5']) await insertWorker(db, id)
  const may = (id: string, queue = 'q', others = 3) => announceLane(database.query, id, queue, others)
  for (const id of ['1', '2', '3', '4']) expect(await may(id)).toBe(true)
  expect([await may('5'), await may('5', 'other'), await may('1')]).toEqual([false, true, true])
  // A second lane is for a worker that is alone with the queue.
  expect([await may('1', 'q', 0), await may('5', 'other', 0)]).toEqual([false, true])
  await db.sql.unsafe(`delete from ${db.s}.worker where id = 2`)
  expect(await may('5')).toBe(true)
})
