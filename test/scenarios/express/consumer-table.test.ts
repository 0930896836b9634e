import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import { signal, type TestDatabase, test } from '../../support/database.js'
import { putRows } from '../../support/express.js'
import { type LaneConsumerOptions, lanesOpenSoon } from '../../support/lane-consumer.js'
import { transaction } from '../../support/open-transaction.js'
import { until } from '../../support/until.js'

// Others work on the table of jobs while a consumer has a lane.

const laneConsumer = await lanesOpenSoon()

/** A backlog of 4,000, and a lane that drains it slowly until `fast`. */
async function drainSlowly(db: TestDatabase, more: Partial<LaneConsumerOptions> = {}) {
  const ids = await putRows(db, 4_000)
  const ran: string[] = []
  const payloads: unknown[] = []
  const fast = signal()
  let isFast = false
  void fast.promise.then(() => {
    isFast = true
  })
  const here = await laneConsumer(db, {
    pauses: false,
    consume: { concurrency: 20 },
    handler: async ({ id, payload }) => {
      ran.push(id)
      payloads.push(payload)
      if (!isFast) await sleep(2)
    },
    ...more,
  })
  await here.untilClaimed(2)
  return { ...here, ids, ran, payloads, fast }
}

function expectEachOnce(ran: readonly unknown[], ids: readonly unknown[]): void {
  expect(ran.length).toBe(ids.length)
  expect(new Set(ran)).toEqual(new Set(ids))
}

for (const kind of ['', 'concurrently']) {
  test(`express: an index that is created ${kind} beside a lane waits for a batch; nothing is lost`, async ({ db }) => {
    const { consumer, ids, ran, fast } = await drainSlowly(db)
    await db.connect().unsafe(`create index ${kind} some_index on ${db.s}.job (created_at)`)
    // That one waits for whatever other tests do in this database.
    if (kind === '') expect(ran.length).toBeLessThan(ids.length)
    fast.resolve()
    await consumer.idle()
    expectEachOnce(ran, ids)
    expect(await db.jobs()).toEqual([])
  })
}

test("express: a person's lock on a row that a lane would take: all others run, and it runs after that", async ({
  db,
}) => {
  const { consumer, ids, ran, fast } = await drainSlowly(db)
  const locked = ids.at(-100) ?? ''
  const end = await transaction(db, `select from ${db.s}.job where id = ${locked} for update`)
  fast.resolve()
  await until(async () => (await db.jobs()).length === 1)
  expect(ran).not.toContain(locked)
  await end('rollback')
  await consumer.idle()
  expectEachOnce(ran, ids)
})

test("express: a person's lock on the queue's row stops no lane", async ({ db }) => {
  await db.sql.unsafe(`insert into ${db.s}.queue (name) values ('q') on conflict do nothing`)
  const { consumer, ids, ran, fast, untilClaimed } = await drainSlowly(db)
  const end = await transaction(db, `select from ${db.s}.queue where name = 'q' for update`)
  await untilClaimed(3)
  fast.resolve()
  await consumer.idle()
  expectEachOnce(ran, ids)
  await end('rollback')
})

for (const identity of ['continue', 'restart']) {
  test(`express: truncate with ${identity} identity beside a lane: new jobs run once, whatever their ids`, async ({
    db,
  }) => {
    const { consumer, ran, payloads, fast } = await drainSlowly(db)
    const session = db.connect()
    await session.unsafe(`
      begin;
      truncate ${db.s}.job ${identity} identity;
      insert into ${db.s}.job (queue, payload) select 'q', to_jsonb('new ' || n) from generate_series(1, 3000) as n;
      commit`)
    fast.resolve()
    await consumer.idle()
    expect(ran.length).toBeLessThan(7_000)
    expectEachOnce(
      payloads.filter((payload) => String(payload).startsWith('new')),
      Array.from({ length: 3_000 }, (_, n) => `new ${n + 1}`),
    )
    expect(await db.jobs()).toEqual([])
  })
}

test('express: jobs that are put with a key and replaced beside a lane run once each, as last put', async ({ db }) => {
  const { bugle, consumer, ids, payloads, fast } = await drainSlowly(db)
  const put = (round: number, key: number) => bugle.put('q', { round, key }, { key: `k${key}`, keyMode: 'replace' })
  for (let round = 1; round <= 5; round += 1) await Promise.all([1, 2, 3, 4].map((key) => put(round, key)))
  fast.resolve()
  await consumer.idle()
  const keyed = payloads.filter((payload) => typeof payload === 'object') as { round: number; key: number }[]
  for (const key of [1, 2, 3, 4]) {
    const rounds = keyed.filter((one) => one.key === key).map(({ round }) => round)
    expect(rounds.at(-1)).toBe(5)
    expect(new Set(rounds).size).toBe(rounds.length)
  }
  expect(payloads.length - keyed.length).toBe(ids.length)
  expect(await db.jobs()).toEqual([])
})

test('express: jobs of transactions that commit late, behind the place of the lane, run too', async ({ db }) => {
  await putRows(db, 100)
  const end = await transaction(
    db,
    `insert into ${db.s}.job (queue, payload) select 'q', to_jsonb(n) from generate_series(1, 50) as n`,
  )
  const { consumer, ran, fast, untilClaimed } = await drainSlowly(db)
  await untilClaimed(2)
  await end('commit')
  await until(() => ran.length > 1_500)
  fast.resolve()
  await consumer.idle()
  expect(new Set(ran).size).toBe(4_150)
  expect(ran.length).toBe(4_150)
  expect(await db.jobs()).toEqual([])
})

test('express: a trigger that is made while a lane is open, and keeps its deletes: no lane follows', async ({ db }) => {
  const { consumer, ids, ran, fast, lanes } = await drainSlowly(db)
  await db.connect().unsafe(`
    create function ${db.s}.keep_ready() returns trigger language plpgsql as $$
    begin
      return null;
    end $$;
    create trigger keep_ready before delete on ${db.s}.job for each row when (old.state = 'ready')
    execute function ${db.s}.keep_ready()`)
  fast.resolve()
  await until(async () => (await db.jobs()).length === 0)
  await consumer.idle()
  const ends = lanes.map(({ end }) => end?.is)
  expect(ends.indexOf('failed')).toBe(lanes.length - 1)
  // What the lane could not delete has run again.
  expect(new Set(ran)).toEqual(new Set(ids))
  expect(ran.length).toBeLessThanOrEqual(ids.length + 500)
})
