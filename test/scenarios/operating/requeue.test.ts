import { expect } from 'vitest'
import { findJob, findJobs } from '../../../src/admin/find.js'
import { requeue } from '../../../src/admin/requeue.js'
import { reject } from '../../../src/outcome.js'
import { count } from '../../support/counts.js'
import { signal, test } from '../../support/database.js'
import { insert, inserters, kinds } from '../../support/ended-jobs.js'
import { transaction } from '../../support/open-transaction.js'
import { operator } from '../../support/operator.js'
import { untilAsleep, watchNotifications } from '../../support/sleepers.js'

for (const kind of kinds) {
  const a = kind === 'failed' ? 'a failed' : 'an archived'

  test(`B9 requeue wakes: a sleeping consumer runs a job that was ${kind}, sweeps off`, async ({ db }) => {
    const parts = operator(db)
    const id = await inserters[kind](db, { payload: '"again"', progress: '2' })
    const bugle = db.bugle()
    let ran = signal<unknown>()
    const consumer = await bugle.consume('emails', (job) => {
      ran.resolve([job.id, job.payload, job.attempt, job.crashes, job.progress])
      return reject('once more')
    })
    await untilAsleep(db, 'emails')
    const notified = await watchNotifications(db)
    expect(await requeue(parts, id)).toBe(1)
    expect(await ran.promise).toEqual([id, 'again', 1, 0, 2])
    await consumer.idle()
    // A requeue by a filter or from SQL does the same.
    const again = [
      () => requeue(parts, { queue: 'emails' }),
      () => db.sql.unsafe(`select ${db.s}.requeue(${id})`),
      () => db.sql.unsafe(`select ${db.s}.requeue_many('{${id}}')`),
    ]
    for (const act of again) {
      await untilAsleep(db, 'emails')
      ran = signal()
      await act()
      expect(await ran.promise).toEqual([id, 'again', 1, 0, 2])
      await consumer.idle()
    }
    expect(await notified()).toEqual(Array.from({ length: 4 }, () => 'emails'))
    expect(await count(db, 'job', "state = 'failed'")).toBe(1)
  })

  test(`requeue: a job that was ${kind} keeps its id, lease and progress, and forgets how it ended`, async ({ db }) => {
    const id = await inserters[kind](db, {
      kind: 'welcome',
      payload: '{"a": 1}',
      priority: -3,
      created_at: '2024-01-01T00:00:00Z',
      crashes: 2,
      key: 'ada',
      flags: ['eu'],
      max_attempts: 4,
      timeout_ms: 5_000,
      progress: '{"step": 2}',
      ...(kind === 'failed' && { cancel_requested_at: '2024-01-01T00:00:00Z', claimed_at: '2024-01-01T00:00:00Z' }),
    })
    const parts = operator(db)
    const before = await findJob(parts, id)
    const [{ lease, at }] = await db.sql.unsafe<[{ lease: string; at: Date }]>(
      `select lease, now() as at from ${db.s}.${kind === 'failed' ? 'job' : 'archive'}`,
    )
    expect(await requeue(parts, id)).toBe(1)
    const after = await findJob(parts, id)
    expect(after).toStrictEqual({
      ...before,
      state: 'ready',
      attempt: 0,
      crashes: 0,
      runAt: after?.runAt,
      claimedAt: null,
      finishedAt: null,
      workerId: null,
      cancelRequestedAt: null,
      error: null,
      errors: [],
      result: null,
      waitMs: null,
      runMs: null,
    })
    expect(after?.runAt.getTime()).toBeGreaterThanOrEqual(at.getTime())
    expect(await db.jobs()).toMatchObject([{ id, lease, state: 'ready' }])
    expect(await count(db, 'archive')).toBe(0)
    // It cannot be requeued again.
    expect(await requeue(parts, id)).toBe(0)
  })

  for (const end of ['commit', 'rollback'] as const) {
    test(`H2 two requeues of one id that was ${kind} make one job, the first one ends with ${end}`, async ({ db }) => {
      const parts = operator(db)
      const id = await inserters[kind](db)
      const endFirst = await transaction(db, `select ${db.s}.requeue(${id})`)
      const second = requeue(parts, [id, id])
      await parts.untilBlocked()
      await endFirst(end)
      expect(await second).toBe(end === 'commit' ? 0 : 1)
      expect(await db.jobs()).toMatchObject([{ id, state: 'ready' }])
      expect(await count(db, 'archive')).toBe(0)
    })
  }

  test(`H2 requeues of the same ${kind} jobs at once, by ids in any order and by filter, make each ready once`, async ({
    db,
  }) => {
    const ids: string[] = []
    for (let n = 0; n < 60; n += 1) ids.push(await inserters[kind](db))
    const operators = [operator(db), operator(db), operator(db)]
    const made = await Promise.all(
      operators.flatMap((parts, index) => [
        requeue(parts, index === 1 ? ids.toReversed() : ids),
        requeue(parts, { state: kind, queue: 'emails' }),
      ]),
    )
    expect(made.reduce((sum, n) => sum + n)).toBe(60)
    expect(await count(db, 'job', "state = 'ready'")).toBe(60)
    expect(await count(db, 'archive')).toBe(0)
  })

  test(`H5 of two ${kind} jobs of one key that are requeued together one keeps the key`, async ({ db }) => {
    const ids = [await inserters[kind](db, { key: 'ada' }), await inserters[kind](db, { key: 'ada' })]
    const elsewhere = await inserters[kind](db, { key: 'ada', queue: 'media' })
    expect(await requeue(operator(db), [...ids, elsewhere])).toBe(3)
    const rows = await db.sql.unsafe<{ key: string | null }[]>(`select key from ${db.s}.job where state = 'ready'`)
    expect(rows.filter(({ key }) => key === 'ada')).toHaveLength(2)
    expect(rows.filter(({ key }) => key === null)).toHaveLength(1)
    expect(await findJob(operator(db), elsewhere)).toMatchObject({ key: 'ada', state: 'ready' })
  })

  test(`H5 ${a} job goes back without its key while a newer one waits under it`, async ({ db }) => {
    const id = await inserters[kind](db, { key: 'ada' })
    const newer = await insert(db, 'job', { queue: 'emails', key: 'ada', run_at: '2099-01-01T00:00:00Z' })
    const parts = operator(db)
    expect(await requeue(parts, { state: kind })).toBe(1)
    expect(await findJob(parts, id)).toMatchObject({ state: 'ready', key: null })
    expect(await findJob(parts, newer)).toMatchObject({ state: 'scheduled', key: 'ada' })
  })

  for (const end of ['commit', 'rollback'] as const) {
    test(`H5 ${a} job whose key is just being put waits for that put; it ends with ${end}`, async ({ db }) => {
      const id = await inserters[kind](db, { key: 'ada' })
      const other = await inserters[kind](db, { key: 'bob' })
      const parts = operator(db)
      const endPut = await transaction(db, `insert into ${db.s}.job (queue, key) values ('emails', 'ada')`)
      const requeued = requeue(parts, [id, other])
      await parts.untilBlocked()
      await endPut(end)
      expect(await requeued).toBe(2)
      expect(await findJob(parts, id)).toMatchObject({ state: 'ready', key: end === 'commit' ? null : 'ada' })
      expect(await findJob(parts, other)).toMatchObject({ state: 'ready', key: 'bob' })
    })
  }

  test(`requeue: by filter, ${kind} jobs of that queue, kind and time only, lowest ids first`, async ({ db }) => {
    const parts = operator(db)
    const other = kind === 'failed' ? 'archived' : 'failed'
    const ids: string[] = []
    for (let n = 0; n < 3; n += 1) ids.push(await inserters[kind](db, { kind: 'welcome' }))
    const media = await inserters[kind](db, { queue: 'media', created_at: '2030-01-01T00:00:00Z' })
    const plain = await inserters[kind](db)
    const untouched = await inserters[other](db)
    const ready = async () => (await findJobs(parts, { state: 'ready' })).jobs.map(({ id }) => id).reverse()

    expect(await requeue(parts, { state: kind, queue: 'nothing' })).toBe(0)
    expect(await requeue(parts, { state: kind, queue: 'emails', kind: 'welcome', limit: 2 })).toBe(2)
    expect(await ready()).toEqual(ids.slice(0, 2))
    expect(await requeue(parts, { state: kind, since: new Date('2030-01-01T00:00:00Z') })).toBe(1)
    expect(await ready()).toEqual([...ids.slice(0, 2), media].sort())
    expect(await requeue(parts, kind === 'failed' ? {} : { state: kind })).toBe(2)
    expect(await ready()).toEqual([...ids, media, plain].sort())
    expect(await findJob(parts, untouched)).toMatchObject({ state: other })
  })
}

test('requeue: ids of both kinds in one call; what waits, runs or is gone is passed over', async ({ db }) => {
  const parts = operator(db)
  const again = [await inserters.failed(db), await inserters.archived(db)]
  const ready = await insert(db, 'job', { queue: 'emails', attempt: 2 })
  const running = await insert(db, 'job', { queue: 'emails', state: 'running', worker_id: 7, attempt: 1 })
  const before = await Promise.all([findJob(parts, ready), findJob(parts, running)])
  expect(await requeue(parts, [...again, ready, running, '123456789', again[0] ?? ''])).toBe(2)
  expect(await Promise.all([findJob(parts, ready), findJob(parts, running)])).toEqual(before)
  expect(await requeue(parts, [])).toBe(0)
  expect(await requeue(parts, {})).toBe(0)
  expect(await requeue(parts, '123456789')).toBe(0)
})

test('requeue: 2,500 by one filter, in batches; one that fails again at once is not requeued twice', async ({ db }) => {
  const parts = operator(db)
  await db.sql.unsafe(`
    insert into ${db.s}.job (queue, state, finished_at) select 'emails', 'failed', now() from generate_series(1, 2500)`)
  // This trigger is the fastest consumer there can be: a job that gets ready has failed when the statement ends.
  await db.sql.unsafe(`
    create table ${db.s}.batch (transaction bigint, jobs bigint);
    create function ${db.s}.fail() returns trigger language plpgsql as $$
    begin
      if not exists (select from changed where state = 'ready') then
        return null;
      end if;
      insert into ${db.s}.batch select txid_current(), count(*) from changed;
      update ${db.s}.job set state = 'failed' where state = 'ready';
      return null;
    end $$;
    create trigger fail after update on ${db.s}.job referencing new table as changed
    for each statement execute function ${db.s}.fail()`)
  expect(await requeue(parts, {})).toBe(2_500)
  expect(await requeue(parts, { limit: 1_200 })).toBe(1_200)
  const batches = await db.sql.unsafe<{ jobs: string }[]>(`select jobs from ${db.s}.batch order by transaction`)
  expect(batches.map(({ jobs }) => Number(jobs))).toEqual([1_000, 1_000, 500, 1_000, 200])
  expect(await count(db, 'batch', `transaction in (select max(transaction) from ${db.s}.batch)`)).toBe(1)
})
