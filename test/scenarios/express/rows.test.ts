import { expect } from 'vitest'
import { type TestDatabase, test } from '../../support/database.js'
import { ackAll, idsOf, type LaneOptions, openLane, putRows } from '../../support/express.js'
import { transaction } from '../../support/open-transaction.js'

// What a lane takes, and what it leaves to durable claims.

/** The ids that a lane takes; they are let go of again. */
async function taken(db: TestDatabase, options: LaneOptions = {}): Promise<string[]> {
  const { started, lane, over } = await openLane(db, options)
  const jobs = await Promise.race([started(), over.then(() => [])])
  await lane.close()
  return idsOf(jobs)
}

async function insert(db: TestDatabase, columns: string, values: string): Promise<string> {
  const [row] = await db.sql.unsafe<{ id: string }[]>(
    `insert into ${db.s}.job (queue, ${columns}) values ('q', ${values}) returning id`,
  )
  return row?.id ?? ''
}

test('express: rows with a key, a crash, a forbidden flag or much data are left, and those beside them taken', async ({
  db,
}) => {
  const [first = ''] = await putRows(db, 1)
  await insert(db, 'key', `'k'`)
  await insert(db, 'crashes', '1')
  await insert(db, 'flags', `'{gpu}'`)
  // What compresses well is not large.
  await insert(db, 'payload', `to_jsonb((select string_agg(md5(n::text), '') from generate_series(1, 600) as n))`)
  await insert(db, 'progress', `to_jsonb((select string_agg(md5(n::text), '') from generate_series(1, 600) as n))`)
  await insert(db, 'run_at', `now() + interval '1 h'`)
  await putRows(db, 1, 'other')
  const [last = ''] = await putRows(db, 1)
  const choice = { queue: 'q', kinds: null, withoutFlags: ['gpu', 'slow'] }
  expect(await taken(db, { choice })).toEqual([first, last])
})

test('express: jobs come by priority and then by id, with all that they have', async ({ db }) => {
  const [low = ''] = await putRows(db, 1)
  const high = await insert(
    db,
    'payload, kind, attempt, lease, priority, flags, max_attempts, timeout_ms, progress, created_at, run_at',
    `'{"a": 1}', 'k', 2, 9007199254740993, 3, '{gpu,null}', 5, 1000, '[1]', '2020-01-02 03:04:05.678901Z',
      '2020-01-03 00:00:00.000001Z'`,
  )
  const { started, lane } = await openLane(db, { random: () => 0 })
  const [first, second] = await started()
  expect([first?.claimed.job.id, second?.claimed.job.id]).toEqual([high, low])
  expect(first?.claimed).toEqual({
    job: {
      id: high,
      queue: 'q',
      kind: 'k',
      payload: { a: 1 },
      attempt: 3,
      maxAttempts: 5,
      crashes: 0,
      priority: 3,
      key: null,
      flags: ['gpu'],
      progress: [1],
      createdAt: new Date('2020-01-02T03:04:05.678Z'),
      runAt: new Date('2020-01-03T00:00:00.000Z'),
    },
    lease: '9007199254740994',
    workerId: '7',
    bytes: 11,
    timeoutMs: 1000,
    waitMs: expect.any(Number),
  })
  expect(first?.asClaimed).toMatchObject({ createdAt: '1577934245678901', runAt: '1578009600000001' })
  expect(second?.claimed).toMatchObject({
    job: { kind: null, attempt: 1, maxAttempts: null, flags: [], progress: null, payload: 1 },
    lease: '1',
    timeoutMs: null,
  })
  expect(second?.claimed.job.runAt).toEqual(second?.claimed.job.createdAt)
  await lane.close()
})

test('express: a row whose numbers and times are at their ends is taken, and acked', async ({ db }) => {
  const ids = [
    await insert(db, 'attempt, lease', '2147483647, 9223372036854775807'),
    await insert(db, 'created_at, run_at', `'infinity', '-infinity'`),
    await insert(db, 'attempt, lease', '-5, -9223372036854775808'),
  ]
  const { started, over, acked, lane } = await openLane(db, { claims: 2, limit: 2 })
  const jobs = await started()
  jobs[0]?.begin()
  jobs[1]?.begin()
  lane.cut()
  ackAll(await started())
  await over
  expect(acked).toEqual([[ids[2], 'durable']])
  expect(await db.jobs()).toMatchObject([
    { id: ids[0], state: 'running', attempt: 1_000_000_000, lease: jobs[0]?.claimed.lease },
    { id: ids[1], state: 'running', attempt: 1 },
  ])
})

test('express: a row that was updated is taken, and one that an aborted transaction had locked is not', async ({
  db,
}) => {
  const [plain = '', updated = '', locked = '', aborted = '', promoted = ''] = await putRows(db, 5)
  await db.sql.unsafe(`update ${db.s}.job set lease = 5 where id = ${updated}`)
  await db.sql.unsafe(`update ${db.s}.job set state = 'scheduled' where id = ${promoted}`)
  await db.sql.unsafe(`update ${db.s}.job set state = 'ready' where id = ${promoted}`)
  const lock = (id: string) => transaction(db, `select from ${db.s}.job where id = ${id} for update`)
  await (await lock(locked))('commit')
  await (await lock(aborted))('rollback')
  expect(await taken(db)).toEqual([plain, updated, locked, promoted])
  // A durable claim takes it; what it gives back is as good as any.
  await db.sql.unsafe(`update ${db.s}.job set lease = 6 where id = ${aborted}`)
  expect(await taken(db)).toEqual([plain, updated, locked, aborted, promoted])
})

test('express: a row that somebody has locked is passed over', async ({ db }) => {
  const [first = '', second = '', third = ''] = await putRows(db, 3)
  const end = await transaction(db, `select from ${db.s}.job where id = ${second} for no key update`)
  expect(await taken(db)).toEqual([first, third])
  await end('commit')
})

for (const [what, spoil] of [
  ['paused', `insert into S.queue (name, paused_at) values ('q', now())`],
  ['calm', `insert into S.queue (name, calm_until, calm_ms) values ('q', now() + interval '1 min', 60000)`],
] as const) {
  test(`express: nothing is taken from a queue that is ${what}`, async ({ db }) => {
    await putRows(db, 2)
    await db.sql.unsafe(spoil.replace('S', db.s))
    expect(await taken(db)).toEqual([])
    await db.sql.unsafe(`update ${db.s}.queue set paused_at = null, calm_until = now()`)
    expect(await taken(db)).toHaveLength(2)
  })
}
