import { expect, onTestFinished, vi } from 'vitest'
import { loadStatements } from '../../../src/database/statements.js'
import { ack, type Bugle, reject } from '../../../src/index.js'
import { broken } from '../../support/broken.js'
import { signal, type TestDatabase } from '../../support/database.js'
import { test } from '../../support/gates.js'
import { untilBlocked } from '../../support/lock-waits.js'
import { refusal } from '../../support/refusal.js'
import { archivedRows } from '../../support/rows.js'
import { until } from '../../support/until.js'

// No instance sweeps here: what nobody tells is not found.

/** Waits until somebody holds the lock that says that a result is waited for, and has no debt: what comes is told. */
async function untilHeard(db: TestDatabase, locks = 1): Promise<void> {
  await until(async () => {
    const rows = await db.sql`
      select from pg_locks
      where locktype = 'advisory' and classid = ${`${db.s}.archive`}::regclass::oid and objid between 1 and 64`
    return rows.length >= locks
  })
}

test('result: of a job that is over it is there at once', async ({ db }) => {
  const bugle = db.bugle()
  const [acked, failed, gone] = await bugle.putMany('q', ['acked', 'failed', 'gone'])
  await bugle.drain('q', ({ payload }) => (payload === 'failed' ? reject('no') : { got: payload }), { keep: 'all' })
  await bugle.discard(gone ?? '')
  expect(await bugle.result(acked ?? '')).toEqual({ outcome: 'acked', result: { got: 'acked' } })
  expect(await bugle.result(failed ?? '')).toEqual({
    outcome: 'failed',
    error: expect.objectContaining({ message: 'no', failedBy: 'rejected', code: 'REJECTED' }),
  })
  expect(await bugle.result(gone ?? '')).toEqual({ outcome: 'gone' })
  expect(await bugle.result('999')).toEqual({ outcome: 'gone' })
  // Nothing had to be listened to.
  expect(await db.backends('listener')).toEqual([])
})

/** Waits in another instance than the one that runs the job. */
async function waits(db: TestDatabase, put: (bugle: Bugle) => Promise<string>) {
  const bugle = db.bugle()
  const id = await put(bugle)
  const coming = bugle.result(id)
  coming.catch(() => {})
  await untilHeard(db)
  return { bugle, id, coming }
}

test('result: it is pushed, of an ack and of a failure, and the process that waits consumes nothing', async ({
  db,
}) => {
  const { bugle, coming } = await waits(db, (one) => one.put('q', 'acked'))
  const failing = bugle.result(await bugle.put('q', 'fails', { maxAttempts: 1 }))
  const worker = db.bugle()
  await worker.consume('q', ({ payload }) => (payload === 'fails' ? broken() : ack([1, 'two'])), { keep: 'all' })
  expect(await coming).toEqual({ outcome: 'acked', result: [1, 'two'] })
  expect(await failing).toMatchObject({ outcome: 'failed', error: { message: 'broken', failedBy: 'exhausted' } })
  expect(await worker.result(await worker.put('q', 'again'))).toMatchObject({ outcome: 'acked' })
})

test('result: whoever ends a job tells: a cancel, a rescue, an ack in a transaction', async ({ db }) => {
  const bugle = db.bugle()
  const ids = await bugle.putMany('q', ['cancelled', 'crashed', 'in a transaction'], (_, index) => ({
    delayMs: 3_600_000,
    priority: index,
  }))
  const [cancelled = '', crashed = '', inTransaction = ''] = ids
  const coming = ids.map((id) => bugle.result(id))
  await untilHeard(db, new Set(ids.map((id) => Number(id) & 63)).size)
  await db.sql.unsafe(`select ${db.s}.cancel(${cancelled})`)
  expect(await coming[0]).toMatchObject({ outcome: 'failed', error: { failedBy: 'cancelled' } })

  await db.sql.unsafe(
    `update ${db.s}.job set state = 'running', worker_id = 7, crashes = 5, run_at = now() where id = ${crashed}`,
  )
  const worker = db.bugle({ rescueAfterMs: 300 })
  await worker.consume(
    'q',
    async (_, ctx) => {
      await db.sql.begin(async (tx) => ctx.ack(tx, 'committed'))
    },
    { keep: 'all' },
  )
  expect(await coming[1]).toMatchObject({ outcome: 'failed', error: { failedBy: 'crashed' } })
  await bugle.edit(inTransaction, { delayMs: 0 })
  expect(await coming[2]).toEqual({ outcome: 'acked', result: 'committed' })
})

test('result: a job that is retried is waited for until it is over', async ({ db }) => {
  const { bugle, id, coming } = await waits(db, (one) => one.put('q', 1))
  let settled = false
  void coming.then(() => {
    settled = true
  })
  const retrying = db.collect(bugle, 'job:retrying')
  await bugle.consume('q', ({ attempt }) => (attempt === 1 ? broken() : attempt), {
    keep: { archivedForMs: 60_000 },
    retryStrategy: { maxAttempts: 2, delaysMs: 3_600_000 },
  })
  await retrying.next()
  expect(settled).toBe(false)
  await bugle.edit(id, { delayMs: 0 })
  expect(await coming).toEqual({ outcome: 'acked', result: 2 })
  const [row] = await archivedRows(db)
  expect(row?.expires_at?.getTime()).toBeGreaterThanOrEqual((row?.finished_at?.getTime() ?? 0) + 59_999)
})

test('result: an end that was tested before the lock was taken, and commits after it, is found', async ({ db }) => {
  const bugle = db.bugle()
  const id = await bugle.put('q', 1)
  // As a handler's transaction that has acked, and goes on.
  const settling = db.connect()
  await settling.unsafe(`
    begin;
    update ${db.s}.job set state = 'failed', finished_at = now(), last_error = '{"message": "late"}'`)
  const coming = bugle.result(id)
  await untilHeard(db)
  // The looks for the debt grow slowly apart: it is seen by one of them, and by nothing else.
  await settling.unsafe('commit')
  expect(await coming).toMatchObject({ outcome: 'failed', error: { message: 'late' } })
})

test('result: many who wait for many jobs, among them twice the same, all hear', async ({ db }) => {
  const bugle = db.bugle()
  const ids = await bugle.putMany(
    'q',
    Array.from({ length: 300 }, (_, n) => n),
    { delayMs: 3_600_000 },
  )
  const coming = [...ids, ...ids].map((id) => bugle.result(id))
  await untilHeard(db, 64)
  await db.bugle().consume('q', ({ payload }) => payload, { keep: 'all' })
  await db.sql.unsafe(`update ${db.s}.job set run_at = now()`)
  const results = await Promise.all(coming)
  const numbers = Array.from({ length: 300 }, (_, n) => ({ outcome: 'acked', result: n }))
  expect(results).toEqual([...numbers, ...numbers])
})

test('result: when its connections are killed, what ends meanwhile is heard as soon as they are back', async ({
  db,
}) => {
  const { id, coming } = await waits(db, (one) => one.put('q', 1, { delayMs: 3_600_000 }))
  const [pid] = await db.sql<{ pid: number }[]>`
    select pid from pg_locks
    where locktype = 'advisory' and classid = ${`${db.s}.archive`}::regclass::oid and objid between 1 and 64`
  await db.kill([pid?.pid ?? 0])
  await db.sql.unsafe(`select ${db.s}.cancel(${id})`)
  expect(await coming).toMatchObject({ outcome: 'failed' })
})

test('result: without notifications every second has a look', async ({ db }) => {
  const bugle = db.bugle({ listen: false })
  const id = await bugle.put('q', 1)
  const coming = bugle.result(id)
  await bugle.cancel(id)
  expect(await coming).toMatchObject({ outcome: 'failed' })
})

test('result: nobody is notified of jobs that nobody waits for', async ({ db }) => {
  const bugle = db.bugle()
  const heard: string[] = []
  const listener = db.connect()
  const [{ oid } = { oid: 0 }] = await db.sql<{ oid: number }[]>`select ${`${db.s}.job`}::regclass::oid as oid`
  await listener.listen(`bugle_${oid}_result`, (payload) => heard.push(payload))
  await bugle.putMany('q', [1, 2, 3, 4])
  await bugle.drain('q', ({ payload }) => (payload === 2 ? reject('no') : payload), { keep: 'all' })
  const marked = signal()
  await listener.listen('result_marker', () => marked.resolve())
  await db.sql`select pg_notify('result_marker', '')`
  await marked.promise
  expect(heard).toEqual([])
})

test('result: a signal ends the wait, a close all of them, and nothing stays', async ({ db }) => {
  const { bugle, id, coming } = await waits(db, (one) => one.put('q', 1, { delayMs: 3_600_000 }))
  const controller = new AbortController()
  const { signal: ending } = controller
  const aborted = bugle.result(id, { signal: ending })
  controller.abort(new Error('enough'))
  await expect(aborted).rejects.toThrow('enough')
  await expect(bugle.result(id, { signal: ending })).rejects.toThrow('enough')
  await bugle.close()
  await expect(coming).rejects.toMatchObject({ code: 'CLOSED' })
  expect(await refusal(() => bugle.result(id))).toMatchObject({ code: 'CLOSED' })
  await until(async () => (await db.backends('')).length === 0)
})

test('result: a look that is on its way at the close leaves no timer behind', async ({ db }) => {
  const timers = ownTimers()
  const [{ oid } = { oid: 0 }] = await db.sql<{ oid: number }[]>`select ${`${db.s}.job`}::regclass::oid as oid`
  const { bugle, id, coming } = await waits(db, (one) => one.put('q', 1, { delayMs: 3_600_000 }))
  const locking = db.connect()
  await locking.unsafe(`begin; lock table ${db.s}.job in access exclusive mode`)
  // As if the job had ended: a look follows, and waits for the table.
  await db.sql`select pg_notify(${`bugle_${oid}_result`}, ${id})`
  await untilBlocked(db, 1)
  const closing = bugle.close()
  await expect(coming).rejects.toMatchObject({ code: 'CLOSED' })
  await locking.unsafe(`update ${db.s}.job set state = 'failed'; commit`)
  await closing
  expect([...timers]).toEqual([])
})

/** Timers that results have set, and that have neither fired nor been cleared. */
function ownTimers(): ReadonlySet<unknown> {
  const { setTimeout, clearTimeout } = globalThis
  const timers = new Set<unknown>()
  vi.stubGlobal('setTimeout', (run: () => void, ms?: number) => {
    const timer = setTimeout(() => {
      timers.delete(timer)
      run()
    }, ms)
    if (new Error().stack?.includes('src/results/results')) timers.add(timer)
    return timer
  })
  vi.stubGlobal('clearTimeout', (timer?: NodeJS.Timeout) => {
    timers.delete(timer)
    clearTimeout(timer)
  })
  onTestFinished(() => void vi.unstubAllGlobals())
  return timers
}

test('result: heavy results come by several looks', async ({ db }) => {
  const bugle = db.bugle({ listen: false })
  const ids = await bugle.putMany('q', [1, 2, 3], { delayMs: 3_600_000 })
  const coming = ids.map((id) => bugle.result(id))
  // Random text, which is not compressed: 0.8 MB each.
  await db.sql.unsafe(`
    with gone as (delete from ${db.s}.job returning *)
    insert into ${db.s}.archive (id, queue, payload, priority, run_at, attempt, lease, crashes, created_at, result)
    select id, queue, payload, priority, run_at, attempt, lease, crashes, created_at, (
      select to_jsonb(string_agg(md5(random()::text || m || gone.id), '')) from generate_series(1, 25000) as m
    ) from gone`)
  const [look] = await db.sql.unsafe(loadStatements(db.schema).result_look, [`{${ids}}`])
  expect(look?.jobs.map(({ state }: { state: string }) => state)).toEqual(['archived', 'unread', 'unread'])
  for (const one of await Promise.all(coming)) {
    expect(one).toMatchObject({ outcome: 'acked', result: expect.stringMatching(/^[0-9a-f]{800000}$/) })
  }
})

test('result: bad input is refused', async ({ db }) => {
  const bugle = db.bugle()
  for (const id of ['', 'x', 5, undefined]) {
    expect(await refusal(() => bugle.result(id as string))).toMatchObject({ code: 'INVALID_OPTION' })
  }
  expect(await refusal(() => bugle.result('1', { signl: 1 } as never))).toMatchObject({ code: 'INVALID_OPTION' })
  expect(await refusal(() => bugle.result('1', { signal: 1 } as never))).toMatchObject({ code: 'INVALID_OPTION' })
  const nowhere = db.bugle({ connectionString: 'postgres://postgres@127.0.0.1:1/postgres' })
  expect(await refusal(() => nowhere.result('1'))).toMatchObject({ code: 'DATABASE_DOWN' })
})
