import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import { type TestDatabase, test } from '../../support/database.js'
import { putRows } from '../../support/express.js'
import { lanesOpenSoon } from '../../support/lane-consumer.js'
import { until } from '../../support/until.js'

// What is not for a lane, and what is urgent, does not wait for the end of the backlog that a lane drains.

const laneConsumer = await lanesOpenSoon()
const backlog = 6_000

/** A row of priority 10, which is not of the backlog. @returns its id */
async function insertUrgent(db: TestDatabase, fields: Record<string, string> = {}): Promise<string> {
  const all: Record<string, string> = { queue: "'q'", payload: "'null'", priority: '10', ...fields }
  const [row] = await db.sql.unsafe<{ id: string }[]>(`
    insert into ${db.s}.job (${Object.keys(all)}) values (${Object.values(all)}) returning id`)
  return row?.id ?? ''
}

/** The transaction that had locked it was aborted: that may have been a lane whose process died. */
async function insertMarked(db: TestDatabase): Promise<string> {
  return db.sql.begin(async (sql) => {
    const [row] = await sql.unsafe<{ id: string }[]>(`
      insert into ${db.s}.job (queue, payload, priority) values ('q', 'null', 10) returning id`)
    const id = row?.id ?? ''
    await sql.unsafe('savepoint before')
    await sql.unsafe(`select from ${db.s}.job where id = ${id} for update`)
    await sql.unsafe('rollback to before')
    return id
  })
}

const urgent: Record<string, (db: TestDatabase) => Promise<string>> = {
  'is plain': (db) => insertUrgent(db),
  'has a key': (db) => insertUrgent(db, { key: "'k'" }),
  'is large': (db) => insertUrgent(db, { payload: 'to_jsonb(array(select random() from generate_series(1, 3000)))' }),
  'is due soon': (db) => insertUrgent(db, { state: "'scheduled'", run_at: "clock_timestamp() + interval '100 ms'" }),
  'bears a mark': insertMarked,
  'has a crash': (db) => insertUrgent(db, { crashes: '1', attempt: '1' }),
}

/** By lanes. */
const passedOver = ['has a key', 'is large', 'bears a mark', 'has a crash']

for (const [what, put] of Object.entries(urgent)) {
  test(`express: an urgent job that ${what} begins while a lane drains a backlog`, async ({ db }) => {
    await putRows(db, backlog)
    const ran: string[] = []
    let isOver = false
    const { consumer, isOnLane, untilClaimed } = await laneConsumer(db, {
      pauses: false,
      consume: { concurrency: 20 },
      handler: async ({ id }) => {
        ran.push(id)
        // Until then the backlog lasts for longer than a second.
        if (!isOver) await sleep(2)
      },
    })
    await untilClaimed(2)
    const id = await put(db)
    await until(() => ran.includes(id))
    isOver = true
    const position = ran.indexOf(id)
    expect(position).toBeGreaterThan(0)
    expect(position).toBeLessThan(backlog - 500)
    if (passedOver.includes(what)) expect(isOnLane(id)).toBe(false)
    await consumer.idle()
    expect(ran.length).toBe(backlog + 1)
    expect(await db.jobs()).toEqual([])
  })
}

test('express: jobs that a lane passes over run in their turn, and not at the end of the backlog', async ({ db }) => {
  const before = await putRows(db, 2_000)
  const keyed = await db.sql.unsafe<{ id: string }[]>(`
    insert into ${db.s}.job (queue, payload, key)
    select 'q', '1', 'k' || n from generate_series(1, 5) as n returning id`)
  await putRows(db, backlog)
  const ran: string[] = []
  let isOver = false
  const { consumer, isOnLane } = await laneConsumer(db, {
    consume: { concurrency: 20 },
    handler: async ({ id }) => {
      ran.push(id)
      if (!isOver) await sleep(2)
    },
  })
  const ids = keyed.map(({ id }) => id)
  await until(() => ids.every((id) => ran.includes(id)))
  isOver = true
  const positions = ids.map((id) => ran.indexOf(id))
  expect(Math.max(...positions)).toBeLessThan(before.length + backlog - 1_000)
  expect(ids.some(isOnLane)).toBe(false)
  await consumer.idle()
  expect(ran.length).toBe(before.length + ids.length + backlog)
})

test('express: a job with a flag that the consumer does not want stays, also on a lane', async ({ db }) => {
  await putRows(db, 2_000)
  const flagged = await insertUrgent(db, { flags: "'{slow}'" })
  const ran: string[] = []
  const { consumer, lanes } = await laneConsumer(db, {
    consume: { withoutFlags: ['slow'] },
    handler: ({ id }) => void ran.push(id),
  })
  await consumer.idle()
  expect(lanes.length).toBeGreaterThan(0)
  expect(ran.length).toBe(2_000)
  expect(await db.jobs()).toMatchObject([{ id: flagged, state: 'ready', attempt: 0 }])
})

test('express: one slot runs jobs of many priorities as they are claimed: the urgent ones first in each batch', async ({
  db,
}) => {
  await db.sql.unsafe(`
    insert into ${db.s}.job (queue, payload, priority)
    select 'q', '1', n * 7919 % 5 from generate_series(1, 4000) as n`)
  const rows = await db.sql.unsafe<{ id: string }[]>(`select id from ${db.s}.job order by priority desc, id`)
  const rank = new Map(rows.map(({ id }, at) => [id, at]))
  const rankOf = (id: string) => rank.get(id) ?? -1
  const ran: string[] = []
  const { consumer, lanes, isOnLane } = await laneConsumer(db, {
    // No batch is cut because this machine is slow: what is let go of would begin later.
    mostMs: 60_000,
    patienceMs: 60_000,
    consume: { concurrency: 1 },
    handler: ({ id }) => void ran.push(id),
  })
  await consumer.idle()
  expect(ran.length).toBe(4_000)
  const batches = lanes.flatMap(({ batches }) => batches).map((batch) => batch.map(({ claimed }) => claimed.job.id))
  expect(batches.length).toBeGreaterThan(5)
  expect(ran.filter(isOnLane)).toEqual(batches.flat())
  for (const batch of batches) expect(batch).toEqual([...batch].sort((a, b) => rankOf(a) - rankOf(b)))
  // From batch to batch the order is not exact: a lane's floor, and what is claimed beside it, move a job.
})
