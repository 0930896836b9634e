import { expect } from 'vitest'
import type { Bugle, BugleEvents, Job } from '../../../src/index.js'
import { type Collected, signal, type TestDatabase, test } from '../../support/database.js'
import { operator } from '../../support/operator.js'
import { fullRows } from '../../support/rows.js'
import { until } from '../../support/until.js'

/** Rows that our own statements never write. Five good jobs of the same queue, put after each, must run beside it. */
const good = [1, 2, 3, 4, 5]

/**
 * Consumes until the good jobs have run.
 *
 * @param handler - of the bad ones
 * @returns what the database refused of claims and rescues, from now on too
 */
async function runBeside(
  db: TestDatabase,
  bugle: Bugle,
  handler: (job: Job) => unknown,
): Promise<{ readonly errors: Collected<BugleEvents['claim:error']> }> {
  const errors = db.collect(bugle, 'claim:error')
  const ran = new Set<unknown>()
  const all = signal()
  await bugle.putMany('q', good)
  await bugle.consume('q', (job) => {
    if (!good.includes(job.payload as number)) return handler(job)
    ran.add(job.payload)
    if (ran.size === good.length) all.resolve()
  })
  await all.promise
  return { errors }
}

test('lean: running rows without a worker go back with a crash counted, and run; the good jobs run beside them', async ({
  db,
}) => {
  const columns = `(queue, payload, state, lease, max_attempts, attempt, cancel_requested_at)`
  await db.sql.unsafe(`
    insert into ${db.s}.job ${columns} values
      ('q', '"bad"', 'running', 7, null, 1, null),
      ('q', '"exhausted"', 'running', 7, 1, 1, null),
      ('q', '"cancelled"', 'running', 7, null, 1, now())`)
  const bugle = db.bugle({ rescueAfterMs: 300 })
  const rescued = db.collect(bugle, 'worker:rescued')
  const failed = db.collect(bugle, 'job:failed')
  const ran = signal<unknown>()
  const { errors } = await runBeside(db, bugle, ({ attempt, crashes }) => ran.resolve([attempt, crashes]))
  expect(await ran.promise).toEqual([2, 1])
  expect(await rescued.next()).toEqual({ queue: null, deadWorkerId: '0', jobs: 3 })
  expect(failed.all.map(({ cause, workerId }) => [cause, workerId]).sort()).toEqual([
    ['cancelled', '0'],
    ['crashed', '0'],
  ])
  await until(async () => (await fullRows(db)).length === 2)
  expect(await fullRows(db)).toMatchObject([
    { payload: 'exhausted', state: 'failed', crashes: 1 },
    { payload: 'cancelled', state: 'failed', crashes: 1 },
  ])
  expect(errors.all).toEqual([])
})

test('lean: of many running rows without a worker and of dead ones, each goes back once, in batches', async ({ db }) => {
  for (const worker of ['null', '42', 'null', '43']) {
    await db.sql.unsafe(
      `insert into ${db.s}.job (queue, state, worker_id, lease)
       select 'q', 'running', ${worker}, 7 from generate_series(1, 50)`,
    )
  }
  const { database } = operator(db)
  await database.ready()
  expect(await database.query('orphans', [500, '{}'])).toHaveLength(200)
  const batches: number[] = []
  for (;;) {
    const rows = await database.query('rescue', [3, 70, null, 'true'])
    if (rows.length === 0) break
    batches.push(rows.length)
  }
  expect(batches).toEqual([70, 70, 60])
  for (const row of await fullRows(db)) {
    expect(row).toMatchObject({ state: 'ready', worker_id: null, crashes: 1 })
    expect(Number(row.lease)).toBeGreaterThan(7)
  }
})
