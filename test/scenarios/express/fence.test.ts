import { expect } from 'vitest'
import { type TestDatabase, test } from '../../support/database.js'
import { ackAll, idsOf, openLane, putRows } from '../../support/express.js'
import { until } from '../../support/until.js'

// Between the loss of a lane and the statements that go alone, anything may have become of its rows.

/** A lane whose session is killed; `meanwhile` comes before its acks and kept jobs go alone. */
async function lostLane(db: TestDatabase, meanwhile: () => Promise<unknown>, { acks }: { readonly acks: number }) {
  const under = await openLane(db, {
    query: (query) => async (name, values) => {
      if (name === 'express_terminate') await meanwhile()
      return query(name, values)
    },
  })
  const jobs = await under.started()
  const acked = jobs.slice(0, acks)
  const kept = jobs.slice(acks)
  for (const job of kept) job.begin()
  for (const job of acked) {
    job.begin()
    if (kept.length > 0 || job !== acked.at(-1)) job.ack()
  }
  await db.kill([under.session().pid])
  expect(await under.over).toMatchObject({ is: 'lost' })
  return under
}

const rowsAt = (db: TestDatabase) =>
  db.sql.unsafe<{ id: string; ctid: string; lease: string }[]>(
    `select id::text as id, ctid::text as ctid, lease::text as lease from ${db.s}.job order by id`,
  )

/** Jobs whose ids, leases, places and times to run come again after a restart of the sequence; created_at does not. */
async function putEqualRows(db: TestDatabase, count: number): Promise<string[]> {
  const rows = await db.sql.unsafe<{ id: string }[]>(`
    insert into ${db.s}.job (queue, run_at) select 'q', '2020-01-01Z' from generate_series(1, ${count}) returning id`)
  return rows.map(({ id }) => id)
}

test('express: acks that go alone do not delete jobs with the same ids, leases and places', async ({ db }) => {
  const ids = await putEqualRows(db, 60)
  const before = await rowsAt(db)
  const { acked } = await lostLane(
    db,
    async () => {
      await db.sql.unsafe(`truncate ${db.s}.job restart identity`)
      expect(await putEqualRows(db, 60)).toEqual(ids)
      expect(await rowsAt(db)).toEqual(before)
    },
    { acks: 59 },
  )
  // Those that were ours are gone.
  expect(acked).toEqual(ids.slice(0, 59).map((id) => [id, 'durable']))
  expect((await db.jobs()).map(({ id, state }) => [id, state])).toEqual(ids.map((id) => [id, 'ready']))
})

test('express: kept jobs that are written alone are not jobs with the same ids, leases and places', async ({ db }) => {
  const ids = await putEqualRows(db, 3)
  const { lost } = await lostLane(
    db,
    async () => {
      await db.sql.unsafe(`truncate ${db.s}.job restart identity`)
      await putEqualRows(db, 3)
    },
    { acks: 1 },
  )
  expect(lost).toEqual(ids.slice(1))
  expect((await db.jobs()).map(({ id, state }) => [id, state])).toEqual(ids.map((id) => [id, 'ready']))
})

for (const [what, change, left] of [
  ['edited', `set payload = '"new"'`, { state: 'ready', payload: 'new' }],
  ['claimed', `set state = 'running', worker_id = 9, lease = lease + 1`, { state: 'running', worker_id: '9' }],
  ['put off', `set state = 'scheduled', run_at = now() + interval '1 h'`, { state: 'scheduled' }],
  ['claimed and given back', `set lease = lease + 1`, { state: 'ready', lease: '1' }],
] as const) {
  test(`express: a job that others have ${what} meanwhile is neither acked nor kept`, async ({ db }) => {
    const [first = '', second = ''] = await putRows(db, 2)
    const { acked, lost } = await lostLane(db, () => db.sql.unsafe(`update ${db.s}.job ${change}`), { acks: 1 })
    expect(acked).toEqual([[first, 'stale']])
    expect(lost).toEqual([second])
    expect(await db.jobs()).toMatchObject([
      { id: first, ...left },
      { id: second, ...left },
    ])
  })
}

test('express: kept jobs of a worker that is buried are lost, and acks are not', async ({ db }) => {
  const [first = '', second = ''] = await putRows(db, 2)
  const { acked, lost } = await lostLane(db, () => db.sql.unsafe(`delete from ${db.s}.worker`), { acks: 1 })
  expect(acked).toEqual([[first, 'durable']])
  expect(lost).toEqual([second])
  expect(await db.jobs()).toMatchObject([{ id: second, state: 'ready', worker_id: null }])
})

test('express: a worker that is buried while its jobs run: acks go alone, kept jobs are free, and marked', async ({
  db,
}) => {
  const [acks = '', runs = ''] = await putRows(db, 2)
  const { started, over, acked, lost } = await openLane(db)
  const [first, second] = await started()
  await db.sql.unsafe(`delete from ${db.s}.worker`)
  first?.begin()
  second?.begin()
  first?.ack()
  expect(await second?.keep()).toBe(false)
  expect(await over).toMatchObject({ is: 'failed', error: { code: '22012' } })
  expect(acked).toEqual([[acks, 'durable']])
  expect(lost).toEqual([runs])
  expect(await db.jobs()).toMatchObject([{ id: runs, state: 'ready', attempt: 0, worker_id: null }])
  // It may have ended that process: no lane takes it.
  const next = await openLane(db, { workerId: '8' })
  expect(await next.over).toEqual({ is: 'closed' })
  expect(next.lane.jobs).toBe(0)
})

for (const [what, bury] of [
  ['is buried', 'delete from S.worker'],
  ['has another row, which says nothing of a lane', `update S.worker set lanes = '{}'`],
] as const) {
  test(`express: acks of a worker that ${what} are committed, and its next claim takes nothing`, async ({ db }) => {
    const ids = await putRows(db, 3)
    const { started, over, acked, lane } = await openLane(db, { claims: 3, limit: 2 })
    const jobs = await started()
    await db.sql.unsafe(bury.replace('S', db.s))
    ackAll(jobs)
    expect(await over).toEqual({ is: 'closed' })
    expect(acked).toEqual(ids.slice(0, 2).map((id) => [id, 'durable']))
    expect(lane.jobs).toBe(0)
    expect(await db.jobs()).toMatchObject([{ id: ids[2], state: 'ready' }])
  })
}

test('express: a row that was edited twice, and lies where it lay is neither acked nor kept', async ({ db }) => {
  const [first = '', second = ''] = await putRows(db, 2)
  const before = await rowsAt(db)
  // Former places are free again once the transactions of other tests have ended, which may last for seconds.
  const edited = () =>
    until(async () => {
      await db.sql.unsafe(`update ${db.s}.job set payload = '"edited"', priority = priority + 1`)
      await db.sql.unsafe(`vacuum (full) ${db.s}.job`)
      return JSON.stringify(await rowsAt(db)) === JSON.stringify(before)
    })
  const { acked, lost } = await lostLane(db, edited, { acks: 1 })
  expect(acked).toEqual([[first, 'stale']])
  expect(lost).toEqual([second])
  expect(await db.jobs()).toMatchObject([
    { id: first, state: 'ready', payload: 'edited' },
    { id: second, state: 'ready', payload: 'edited' },
  ])
})

test('express: rows that were frozen or moved by a vacuum meanwhile are acked and kept', async ({ db }) => {
  const [first = '', second = ''] = await putRows(db, 2)
  const { acked, lost } = await lostLane(
    db,
    async () => {
      await db.sql.unsafe(`vacuum (freeze) ${db.s}.job`)
      await db.sql.unsafe(`vacuum (full) ${db.s}.job`)
    },
    { acks: 1 },
  )
  expect(acked).toEqual([[first, 'durable']])
  expect(lost).toEqual([])
  expect(await db.jobs()).toMatchObject([{ id: second, state: 'running' }])
})

test('express: a worker that is not known opens no lane', async ({ db }) => {
  await putRows(db, 1)
  const { over } = await openLane(db, {
    query: (query) => async (name, values) => {
      if (name === 'worker_lane') await db.sql.unsafe(`delete from ${db.s}.worker`)
      return query(name, values)
    },
  })
  expect(await over).toMatchObject({
    is: 'refused',
    error: { message: expect.stringContaining('has no such lane: too many others have one, or it is not known') },
  })
})

test('express: acks that go alone wait for the pool, and go when it is back', async ({ db }) => {
  const ids = await putRows(db, 2)
  let refused = 0
  const { started, over, acked, session } = await openLane(db, {
    query: (query) => async (name, values) => {
      if ((name === 'express_terminate' || name === 'settle_express') && refused < 4) {
        refused += 1
        throw Object.assign(new Error('the server is not there'), { code: 'ECONNREFUSED' })
      }
      return query(name, values)
    },
  })
  const [first, second] = await started()
  first?.begin()
  second?.begin()
  first?.ack()
  await db.kill([session().pid])
  expect(second?.ack()).toBe(false)
  expect(await over).toMatchObject({ is: 'lost' })
  await until(() => refused === 4)
  expect(acked).toEqual([[ids[0], 'durable']])
  expect(await db.jobs()).toMatchObject([{ id: ids[1], state: 'running' }])
})

test('express: one kept job that the server refuses does not take the others down', async ({ db }) => {
  const ids = await putRows(db, 4)
  await db.sql.unsafe(`
    create function ${db.s}.refuse() returns trigger language plpgsql as $$
    begin
      if new.id = ${ids[2]} then raise exception 'no'; end if;
      return new;
    end $$;
    create trigger refuse before update on ${db.s}.job for each row execute function ${db.s}.refuse()`)
  const { started, over, lost } = await openLane(db)
  const jobs = await started()
  for (const job of jobs) job.begin()
  const kept = jobs.map((job) => job.keep())
  expect(await Promise.all(kept)).toEqual([true, true, false, true])
  expect(await over).toMatchObject({ is: 'failed' })
  expect(lost).toEqual([ids[2]])
  expect(idsOf(jobs)).toEqual(ids)
  expect((await db.jobs()).map(({ state }) => state)).toEqual(['running', 'running', 'ready', 'running'])
})

test('express: acks of many batches are told once each', async ({ db }) => {
  const ids = await putRows(db, 300)
  const { started, over, acked } = await openLane(db, { claims: 40, limit: 10 })
  for (let n = 0; n < 30; n += 1) ackAll(await started())
  expect(await over).toEqual({ is: 'closed' })
  expect(acked).toEqual(ids.map((id) => [id, 'durable']))
})
