import { expect } from 'vitest'
import { collectBatch } from '../../../src/admin/collect.js'
import { ack, type BugleError, type Job, partial, reject, release, retry } from '../../../src/index.js'
import { broken } from '../../support/broken.js'
import { test } from '../../support/database.js'
import { operator } from '../../support/operator.js'
import { archivedRows, fullRows, hasten } from '../../support/rows.js'

test("keep: with 'all' acked jobs move to the archive, with result, attempt, and the times of queue and run", async ({
  db,
}) => {
  const bugle = db.bugle()
  const acked = db.collect(bugle, 'job:acked')
  hasten(db, bugle)
  const results: unknown[] = [{ sent: [1] }, 'text', 0, false, null, undefined, ack(), ack({ sent: 2 }), ack([null])]
  const kept = [{ sent: [1] }, 'text', 0, false, null, null, null, { sent: 2 }, [null]]
  const claims = new Map<string, unknown>()
  await bugle.consume(
    'emails',
    async ({ id, attempt, payload }) => {
      if (attempt === 1) return retry({ delayMs: 60_000 })
      const [row] = await db.sql.unsafe(`select run_at, claimed_at, lease, worker_id from ${db.s}.job where id = $1`, [
        id,
      ])
      claims.set(id, row)
      return results[payload as number]
    },
    { keep: 'all' },
  )
  const before = new Date()
  const ids = await bugle.putMany('emails', [...results.keys()], {
    kind: 'letter',
    priority: 3,
    flags: ['eu', 'slow'],
    maxAttempts: 4,
  })
  const keyed = await bugle.put('emails', 0, { key: 'only' })
  for (let left = ids.length + 1; left > 0; left -= 1) await acked.next()
  expect(await db.jobs()).toEqual([])
  const rows = await archivedRows(db)
  expect(rows.map(({ id }) => id)).toEqual([...ids, keyed])
  expect(rows.at(-1)).toMatchObject({ key: 'only', flags: null, kind: null })
  for (const [index, row] of rows.slice(0, -1).entries()) {
    expect(row).toMatchObject({
      queue: 'emails',
      kind: 'letter',
      payload: index,
      priority: 3,
      flags: ['eu', 'slow'],
      key: null,
      max_attempts: 4,
      attempt: 2,
      crashes: 0,
      result: kept[index],
      ...(claims.get(row.id) as object),
    })
    // In the queue from run_at to claimed_at, at work from there to finished_at.
    const times = [row.created_at, row.run_at, row.claimed_at, row.finished_at].map(
      (time) => time?.getTime() ?? Number.NaN,
    )
    expect(times).toEqual(times.toSorted((a, b) => a - b))
    expect(times[3]).toBeLessThan(before.getTime() + 60_000)
  }
})

test("keep: with 'all' no job is archived that did not succeed; with 'failed' none at all", async ({ db }) => {
  const bugle = db.bugle()
  const ends: (() => unknown)[] = [
    () => ack(1),
    () => reject('no'),
    () => retry(),
    () => release(),
    () => partial(1),
    broken,
  ]
  for (const keep of ['all', 'failed', undefined] as const) {
    const queue = `keep ${keep}`
    const options = keep === undefined ? {} : { keep }
    const consumer = await bugle.consume(queue, ({ payload }) => ends[payload as number]?.(), options)
    await bugle.putMany(queue, [...ends.keys()])
    await consumer.idle()
  }
  expect(await archivedRows(db)).toMatchObject([{ queue: 'keep all', payload: 0, result: 1 }])
  expect((await fullRows(db)).map(({ queue, payload }) => [queue, payload])).toEqual(
    ['keep all', 'keep failed', 'keep undefined'].flatMap((queue) =>
      [1, 2, 3, 4, 5].map((payload) => [queue, payload]),
    ),
  )
})

test(
  'keep: a result that cannot be stored fails the run where it is kept, ' + 'and is of no account where it is not',
  async ({ db }) => {
    const bugle = db.bugle({ maxPayloadBytes: 100 })
    const failed = db.collect(bugle, 'job:failed')
    const acked = db.collect(bugle, 'job:acked')
    const circle: Record<string, unknown> = {}
    circle.self = circle
    const results: unknown[] = [1n, () => {}, Symbol('s'), circle, 'x'.repeat(100), 'a\0b', ack({ n: Number.NaN })]
    const handler = ({ payload }: Job): unknown => results[payload as number]
    const options = { retryStrategy: { maxAttempts: 6 } } as const
    const kept = await bugle.consume('kept', handler, { ...options, concurrency: 1, keep: 'all' })
    const dropped = await bugle.consume('dropped', handler, options)
    await bugle.putMany('kept', [...results.keys()], { maxAttempts: 9 })
    await bugle.putMany('dropped', [...results.keys()])
    await Promise.all([kept.idle(), dropped.idle()])
    expect(acked.all.map(({ queue }) => queue)).toEqual(results.map(() => 'dropped'))
    expect(failed.all.map(({ queue, cause, attempt }) => [queue, cause, attempt])).toEqual(
      results.map(() => ['kept', 'invalid', 1]),
    )
    expect(failed.all.map(({ error }) => (error as BugleError).code)).toEqual(
      results.map((result) => (result === 'x'.repeat(100) ? 'PAYLOAD_TOO_LARGE' : 'INVALID_PAYLOAD')),
    )
    expect(await archivedRows(db)).toEqual([])
    for (const row of await fullRows(db)) {
      expect(row).toMatchObject({
        queue: 'kept',
        state: 'failed',
        attempt: 1,
        last_error: { failedBy: 'invalid', message: expect.stringMatching(/^result/) },
      })
    }
  },
)

test('keep: for a time, acked jobs move to the archive and go when it is over; a later requeue is as ever', async ({
  db,
}) => {
  const bugle = db.bugle()
  const unique = { key: 'k', while: 'running' } as const
  const [id] = await bugle.putMany('q', ['plain', 'in a transaction'], (payload) =>
    payload === 'plain' ? { unique } : {},
  )
  const { completed } = await bugle.drain(
    'q',
    async ({ payload }, ctx) => {
      if (payload === 'in a transaction') await db.sql.begin(async (tx) => ctx.ack(tx, 'two'))
      return 'one'
    },
    { keep: { archivedForMs: 60_000 } },
  )
  expect(completed).toBe(2)
  const rows = await archivedRows(db)
  expect(rows.map(({ result }) => result)).toEqual(['one', 'two'])
  for (const { expires_at, finished_at } of rows) {
    const ms = (expires_at?.getTime() ?? 0) - (finished_at?.getTime() ?? 0)
    expect(ms).toBeGreaterThanOrEqual(59_990)
    expect(ms).toBeLessThan(60_100)
  }
  expect(await bugle.requeue(id ?? '')).toBe(1)
  expect(await fullRows(db)).toMatchObject([{ id, key: 'k', key_while: 'running' }])
  const { database } = operator(db)
  expect(await collectBatch(database, 'expired', 0)).toEqual({ locked: true, deleted: 0 })
  await db.sql.unsafe(`update ${db.s}.archive set expires_at = now() - interval '1 ms'`)
  expect(await collectBatch(database, 'expired', 0)).toEqual({ locked: true, deleted: 1 })
  expect(await archivedRows(db)).toEqual([])
})
