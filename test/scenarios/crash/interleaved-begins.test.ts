import { expect } from 'vitest'
import { z } from 'zod'
import { signal, type TestDatabase } from '../../support/database.js'
import { test } from '../../support/gates.js'
import { fullRows } from '../../support/rows.js'
import { untilSoundAsleep } from '../../support/sleepers.js'
import { aborted, fence, holdClaims, untilState, withoutHeartbeat } from '../../support/stopping.js'
import { until } from '../../support/until.js'

// Each test puts two things into the one order that could go wrong: the second begins before the first is over.

test(
  'interleaving: a run that a stop aborts while its payload is prepared does not begin, and its job goes back ' +
    'untouched',
  async ({ db, gate }) => {
    const slow = slowSchema(gate())
    const bugle = db.bugle({ schemas: { q: { slow: slow.schema } } })
    const begun: (string | null)[] = []
    const running = signal()
    const told = signal()
    const consumer = await bugle.consume('q', async ({ kind }, ctx) => {
      begun.push(kind)
      if (kind === 'slow') return
      running.resolve()
      const reason = await aborted(ctx)
      told.resolve()
      throw reason
    })
    await insertKinds(db, ['slow', 'plain'])
    await Promise.all([slow.reached, running.promise])
    const stopped = consumer.stop({ graceMs: 0, abortMs: Number.POSITIVE_INFINITY })
    // All runs are aborted together.
    await told.promise
    slow.goOn()
    expect(await stopped).toEqual({ completed: 0, failed: 0, interrupted: 2, released: 0, abandoned: [] })
    expect(begun).toEqual(['plain'])
    const untouched = { state: 'ready', attempt: 0, worker_id: null, last_error: null }
    expect(await db.jobs()).toMatchObject([untouched, untouched])
  },
)

test('interleaving: a job cancelled while its payload is prepared does not begin, and is failed as cancelled', async ({
  db,
  gate,
}) => {
  const slow = slowSchema(gate())
  const bugle = db.bugle({ schemas: { q: { slow: slow.schema } }, ...withoutHeartbeat })
  const failed = db.collect(bugle, 'job:failed')
  const acked = db.collect(bugle, 'job:acked')
  const begun: (string | null)[] = []
  const running = signal()
  const told = signal()
  await bugle.consume('q', async ({ kind }, ctx) => {
    begun.push(kind)
    if (kind === 'slow') return
    running.resolve()
    await aborted(ctx)
    told.resolve()
  })
  const [id = '', other = ''] = await insertKinds(db, ['slow', 'plain'])
  await Promise.all([slow.reached, running.promise])
  await bugle.cancel(id)
  await bugle.cancel(other)
  // Notifications arrive in the order of their commits.
  await told.promise
  slow.goOn()
  expect(await failed.next()).toMatchObject({ id, attempt: 1, cause: 'cancelled' })
  expect(await acked.next()).toMatchObject({ id: other })
  expect(begun).toEqual(['plain'])
  expect(await fullRows(db)).toMatchObject([{ id, state: 'failed', last_error: { failedBy: 'cancelled' } }])
})

test(
  'interleaving: a job that is cancelled while it waits for the gate does not begin, and is told as failed, ' +
    'cancelled',
  async ({ db }) => {
    const bugle = db.bugle({ rescueAfterMs: 1_000 })
    const failed = db.collect(bugle, 'job:failed')
    const begun: string[] = []
    const ranLater = signal()
    const consumer = await bugle.consume('q', ({ id, kind }) => {
      begun.push(id)
      if (kind === 'later') ranLater.resolve()
    })
    const claims = await holdClaims(db)
    const id = await bugle.put('q', null)
    await claims.untilHeld()
    const letGo = await lockWorkerRow(db, bugle.workerId)
    await untilUnconfirmed(db, bugle.workerId, 1_000)
    await claims.open()
    await untilState(db, id, 'running')
    expect(await bugle.cancel(id)).toBe('requested')
    await fence(db)
    expect([begun, failed.all]).toEqual([[], []])
    await letGo()
    const later = await bugle.put('q', null, { kind: 'later' })
    await ranLater.promise
    expect(await consumer.stop()).toMatchObject({ completed: 1, failed: 1, released: 0 })
    expect(begun).toEqual([later])
    expect(failed.all).toMatchObject([{ id, attempt: 1, cause: 'cancelled' }])
    expect(await db.jobs()).toMatchObject([{ id, state: 'failed', last_error: { failedBy: 'cancelled' } }])
  },
)

test('interleaving: a worker that cannot confirm its presence begins nothing, until it can', async ({ db }) => {
  const bugle = db.bugle({ rescueAfterMs: 1_000 })
  const started = db.collect(bugle, 'job:started')
  const consumer = await bugle.consume('q', () => {})
  await untilSoundAsleep(db, consumer)
  const letGo = await lockWorkerRow(db, bugle.workerId)
  await untilUnconfirmed(db, bugle.workerId, 1_000)
  const id = await bugle.put('q', null)
  // Only its presence keeps it back: the way to the database is open, and the queue's notification has come.
  await fence(db)
  expect(started.all).toEqual([])
  expect(await db.jobs()).toMatchObject([{ id, state: 'ready', attempt: 0 }])
  await letGo()
  expect(await started.next()).toMatchObject({ id, attempt: 1, workerId: bugle.workerId })
  expect(await consumer.stop()).toMatchObject({ completed: 1, released: 0 })
})

test('interleaving: a job ready while a handler blocks the event loop begins only after a tick on time', async ({
  db,
}) => {
  const bugle = db.bugle(withoutHeartbeat)
  const lag = db.collect(bugle, 'worker:lag')
  let laggedAt = 0
  let begunAt = 0
  bugle.on('worker:lag', () => {
    laggedAt = performance.now()
  })
  const begun = signal()
  const consumer = await bugle.consume('q', async ({ kind }) => {
    if (kind === 'ready meanwhile') {
      begunAt = performance.now()
      return begun.resolve()
    }
    // Another session inserts the job in the middle of the block.
    const insert = db.sql.unsafe(`insert into ${db.s}.job (queue, kind) select 'q', 'ready meanwhile' from pg_sleep(1)`)
    void insert.execute() // lazy otherwise
    const sleeping = () =>
      db.sql`select from pg_stat_activity where wait_event = 'PgSleep' and query like ${`%${db.s}%`}`
    await until(async () => (await sleeping()).length > 0)
    const blockedUntil = performance.now() + 1_700
    while (performance.now() < blockedUntil);
  })
  await untilSoundAsleep(db, consumer)
  await bugle.put('q', null)
  await begun.promise
  expect(lag.all).toHaveLength(1)
  expect(lag.all[0]?.ms).toBeGreaterThan(1_000)
  // The ticks of the lag check are half a second apart.
  expect(begunAt - laggedAt).toBeGreaterThan(490)
})

/** From now on the worker's heartbeats fail, and nothing else does. @returns unlocks the row */
async function lockWorkerRow(db: TestDatabase, workerId: string): Promise<() => Promise<void>> {
  const session = db.connect()
  await session`begin`
  await session.unsafe(`select from ${db.s}.worker where id = $1 for update`, [workerId])
  return async () => void (await session`rollback`)
}

/** Waits until a worker's last heartbeat is older than that. */
async function untilUnconfirmed(db: TestDatabase, workerId: string, ms: number): Promise<void> {
  const isOld = () =>
    db.sql.unsafe(
      `select from ${db.s}.worker where id = $1 and clock_timestamp() - seen_at > $2::int * interval '1 ms'`,
      [workerId, ms],
    )
  await until(async () => (await isOld()).length > 0)
}

/** Puts jobs by SQL: `put` would wait for the payload schema as well. */
async function insertKinds(db: TestDatabase, kinds: readonly string[]): Promise<string[]> {
  const rows = await db.sql.unsafe<{ id: string }[]>(
    `insert into ${db.s}.job (queue, kind) select 'q', kind from unnest($1::text[]) as kind returning id`,
    [[...kinds]],
  )
  return rows.map(({ id }) => id)
}

/** A payload schema that is `reached` by the first payload, and answers once the test says `goOn`. */
function slowSchema({ promise, resolve }: ReturnType<typeof signal<void>>) {
  const { promise: reached, resolve: reach } = signal()
  const schema = z.unknown().refine(async () => {
    reach()
    await promise
    return true
  })
  return { schema, reached, goOn: () => resolve() }
}
