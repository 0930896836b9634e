import { expect } from 'vitest'
import { test } from '../../support/gates.js'
import { operator } from '../../support/operator.js'
import { orphans } from '../../support/orphans.js'
import { workerIds } from '../../support/presence.js'
import { fullRows } from '../../support/rows.js'

test('B9 a rescued job wakes a sleeper, sweeps off', async ({ db, gate }) => {
  const dead = '42'
  const bugle = db.bugle({ rescueAfterMs: 300 })
  const started = db.collect(bugle, 'job:started')
  const consumer = await bugle.consume('q', () => gate().promise)
  await consumer.idle()
  // The job is inserted as running, so no trigger notifies of it.
  const [id] = await orphans(db, 1, { worker_id: dead })
  expect(await started.next()).toMatchObject({ id, attempt: 2 })
})

test('rescue: two at once share the work, and every job goes back once', async ({ db }) => {
  await orphans(db, 3_000)
  const rescuers = [operator(db), operator(db), operator(db)]
  const counts = await Promise.all(
    rescuers.map(async ({ database }) => {
      await database.ready()
      let all = 0
      for (;;) {
        const rows = await database.query('rescue', [3, 100, null, 'true'])
        all += rows.length
        if (rows.length === 0) return all
      }
    }),
  )
  // A rescuer that finds all the rest locked by the others finds nothing, and ends.
  expect(counts.reduce((all, count) => all + count)).toBe(3_000)
  const rows = await fullRows(db)
  for (const row of rows) expect(row).toMatchObject({ state: 'ready', worker_id: null, crashes: 1, attempt: 1 })
  expect(rows).toHaveLength(3_000)
})

test('rescue: of many workers, a batch takes no job whose worker has a row', async ({ db }) => {
  const [alive] = await orphans(db, 1, { worker_id: '50' })
  await db.sql.unsafe(`insert into ${db.s}.worker (id, name, host, pid, version) values (50, 'w', 'h', 1, '1')`)
  for (let worker = 1; worker < 100; worker += 1) if (worker !== 50) await orphans(db, 2, { worker_id: String(worker) })
  const { database } = operator(db)
  await database.ready()
  const batches: number[] = []
  for (;;) {
    const rows = await database.query<{ owner: string }>('rescue', [3, 70, null, 'true'])
    if (rows.length === 0) break
    batches.push(rows.length)
    expect(rows.map(({ owner }) => owner)).not.toContain('50')
  }
  expect(batches).toEqual([70, 70, 56])
  const running = (await fullRows(db)).filter(({ state }) => state === 'running')
  expect(running).toMatchObject([{ id: alive, worker_id: '50', crashes: 0 }])
})

test('rescue: the lease grows, so that what the former owner still writes does not match', async ({ db }) => {
  const [id] = await orphans(db, 1, { worker_id: '7', lease: '100' })
  const { database } = operator(db)
  await database.ready()
  await database.query('rescue', [3, 100, null, 'true'])
  const missed = await database.query('settle', ['7', `{${id}}`, '{100}'])
  expect(missed).toMatchObject([{ id, state: 'ready' }])
  const [row] = await fullRows(db)
  expect(Number(row?.lease)).toBeGreaterThan(100)
})

test('rescue: cancelled, out of attempts or out of crashes is failed, with its cause; the rest waits', async ({
  db,
}) => {
  const bugle = db.bugle({ rescueAfterMs: 300, maxCrashes: 3 })
  const failed = db.collect(bugle, 'job:failed')
  const [cancelled, exhausted, crashed, waits] = [
    await orphans(db, 1, { cancel_requested_at: '2020-01-01', crashes: '2' }),
    await orphans(db, 1, { max_attempts: '1' }),
    await orphans(db, 1, { crashes: '2', max_attempts: '9' }),
    await orphans(db, 1, { crashes: '1', max_attempts: '2' }),
  ].flat()
  await bugle.consume('other', () => {})
  for (let n = 0; n < 3; n += 1) await failed.next()
  expect(Object.fromEntries(failed.all.map(({ id, cause }) => [id, cause]))).toEqual({
    [cancelled ?? '']: 'cancelled',
    [exhausted ?? '']: 'crashed',
    [crashed ?? '']: 'crashed',
  })
  expect(await fullRows(db)).toMatchObject([
    { id: cancelled, state: 'failed', last_error: { failedBy: 'cancelled', code: 'CANCELLED', message: 'cancelled' } },
    { id: exhausted, state: 'failed', crashes: 1, last_error: { failedBy: 'crashed' } },
    { id: crashed, state: 'failed', crashes: 3, last_error: { failedBy: 'crashed' } },
    { id: waits, state: 'ready', crashes: 2, last_error: null },
  ])
  expect((await bugle.job(crashed ?? ''))?.state).toBe('failed')
})

test('rescue: a job whose key waits again goes back without it', async ({ db }) => {
  const bugle = db.bugle({ rescueAfterMs: 300 })
  const [id] = await orphans(db, 1, { key: 'k' })
  const waiting = await bugle.put('q', 'newer', { key: 'k' })
  const rescued = db.collect(bugle, 'worker:rescued')
  await bugle.consume('other', () => {})
  await rescued.next()
  expect(await fullRows(db)).toMatchObject([
    { id, state: 'ready', key: null, crashes: 1 },
    { id: waiting, state: 'ready', key: 'k', crashes: 0 },
  ])
})

test('burial: a worker that has confirmed its presence since it was observed keeps its row', async ({ db }) => {
  const { database } = operator(db)
  await database.ready()
  await database.query('worker_insert', ['7', 'w', 'h', 1, '1', 300, 300_000])
  const observed = async (): Promise<string> => {
    const [row] = await database.query<{ others: string }>('heartbeat', ['8', 300, 300_000, '[]', '[]', '[]'])
    return JSON.parse(row?.others ?? '')[0].seen_at
  }
  const before = await observed()
  await database.query('heartbeat', ['7', 300, 300_000, '[]', '[]', '[]'])
  expect(await database.query('worker_bury', ['7', before])).toEqual([])
  expect(await workerIds(db)).toEqual(['7'])
  expect(await database.query('worker_bury', ['7', await observed()])).toEqual([{ id: '7' }])
  expect(await workerIds(db)).toEqual([])
})
