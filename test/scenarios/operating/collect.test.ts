import { expect } from 'vitest'
import { collect, collectBatch } from '../../../src/admin/collect.js'
import { findJob } from '../../../src/admin/find.js'
import { loadStatements } from '../../../src/database/statements.js'
import { count } from '../../support/counts.js'
import { signal, type TestDatabase, test } from '../../support/database.js'
import { fill, inserters, kinds } from '../../support/ended-jobs.js'
import { transaction } from '../../support/open-transaction.js'
import { operator } from '../../support/operator.js'

/** From now on counts the rows that each transaction deletes from a table, in order. */
async function watchDeletes(db: TestDatabase, table: 'job' | 'archive'): Promise<() => Promise<number[]>> {
  await db.sql.unsafe(`
    create table ${db.s}.deleted_${table} (transaction bigint, jobs int);
    create function ${db.s}.note_${table}() returns trigger language plpgsql as $$
    begin
      insert into ${db.s}.deleted_${table} select txid_current(), count(*) from gone;
      return null;
    end $$;
    create trigger note after delete on ${db.s}.${table} referencing old table as gone
    for each statement execute function ${db.s}.note_${table}()`)
  return async () =>
    (
      await db.sql.unsafe<{ jobs: number }[]>(
        `select sum(jobs)::int as jobs from ${db.s}.deleted_${table} group by transaction order by transaction`,
      )
    ).map(({ jobs }) => jobs)
}

test('collect: old failed and archived rows go in batches of 1,000, each a transaction; everything else stays', async ({
  db,
}) => {
  const parts = operator(db)
  const batches = [await watchDeletes(db, 'job'), await watchDeletes(db, 'archive')]
  for (const what of kinds) {
    await fill(db, what, 2_500, '2 hours')
    await fill(db, what, 10, '10 min')
  }
  await db.sql.unsafe(`insert into ${db.s}.job (queue, finished_at) values ('emails', '2000-01-01')`)
  // It was failed by hand, without a time: its age is unknown.
  await inserters.failed(db, { finished_at: null })
  expect(await collect(parts, { failedOlderThanMs: 3_600_000 })).toEqual({ failed: 2_500, archived: 0 })
  expect(await collect(parts, { archivedOlderThanMs: 3_600_000 })).toEqual({ failed: 0, archived: 2_500 })
  for (const deleted of batches) expect(await deleted()).toEqual([1_000, 1_000, 500])
  expect(await count(db, 'job')).toBe(12)
  expect(await count(db, 'archive')).toBe(10)
  expect(await collect(parts, { failedOlderThanMs: 3_155_760_000_000, archivedOlderThanMs: 3_600_000 })).toEqual({
    failed: 0,
    archived: 0,
  })
  expect(await collect(parts, { failedOlderThanMs: 0, archivedOlderThanMs: 0 })).toEqual({ failed: 10, archived: 10 })
  expect(await count(db, 'job')).toBe(2)
})

test('collect: the oldest first, and no more than the limit in all', async ({ db }) => {
  const parts = operator(db)
  await fill(db, 'failed', 30, '1 hour')
  await fill(db, 'archived', 30, '1 hour')
  expect(await collect(parts, { failedOlderThanMs: 0, archivedOlderThanMs: 0, limit: 10 })).toEqual({
    failed: 10,
    archived: 0,
  })
  expect(await count(db, 'job', `id <= 20`)).toBe(20)
  expect(await collect(parts, { failedOlderThanMs: 0, archivedOlderThanMs: 0, limit: 25 })).toEqual({
    failed: 20,
    archived: 5,
  })
})

test('collect: one collector at a time in a schema; a call waits for its turn, a batch by itself does not', async ({
  db,
}) => {
  const { database } = operator(db)
  await fill(db, 'failed', 5, '1 hour')
  await fill(db, 'archived', 5, '1 hour')
  const text = loadStatements(db.schema).collect_failed.replace('$1', '0').replace('$2', '1')
  const endOther = await transaction(db, text)
  for (const what of kinds) expect(await collectBatch(database, what, 0)).toEqual({ locked: false, deleted: 0 })

  let tries = 0
  const triedTwice = signal()
  const counting = {
    ...database,
    query: async <Row>(...args: Parameters<typeof database.query>): Promise<Row[]> => {
      const rows = await database.query<Row>(...args)
      tries += 1
      if (tries === 2) triedTwice.resolve()
      return rows
    },
  }
  const waiting = collect({ database: counting }, { failedOlderThanMs: 0, archivedOlderThanMs: 0 })
  await triedTwice.promise
  expect(await count(db, 'job')).toBe(5)
  await endOther('rollback')
  expect(await waiting).toEqual({ failed: 5, archived: 5 })
  expect(await collectBatch(database, 'failed', 0)).toEqual({ locked: true, deleted: 0 })
})

test('collect: two calls at once delete each row once', async ({ db }) => {
  const batches = await watchDeletes(db, 'job')
  await fill(db, 'failed', 5_000, '1 hour')
  const reports = await Promise.all(
    [operator(db), operator(db)].map((parts) => collect(parts, { failedOlderThanMs: 60_000 })),
  )
  expect(reports.reduce((sum, { failed }) => sum + failed, 0)).toBe(5_000)
  expect((await batches()).reduce((sum, jobs) => sum + jobs, 0)).toBe(5_000)
  expect(await count(db, 'job')).toBe(0)
})

test('collect: a job that is being requeued is left alone, however that ends', async ({ db }) => {
  const parts = operator(db)
  for (const kind of kinds) {
    const id = await inserters[kind](db)
    for (const end of ['rollback', 'commit'] as const) {
      const endRequeue = await transaction(db, `select ${db.s}.requeue(${id})`)
      expect(await collect(parts, { failedOlderThanMs: 0, archivedOlderThanMs: 0 })).toEqual({ failed: 0, archived: 0 })
      await endRequeue(end)
    }
    expect(await findJob(parts, id)).toMatchObject({ state: 'ready' })
  }
})
