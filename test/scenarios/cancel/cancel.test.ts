import { expect } from 'vitest'
import type { Bugle } from '../../../src/index.js'
import { signal, type TestDatabase } from '../../support/database.js'
import { interruptible, test } from '../../support/running-job.js'
import { startStopProcess } from '../../support/stop-process.js'
import { aborted, fence, untilShown, withoutHeartbeat } from '../../support/stopping.js'
import { until } from '../../support/until.js'

test('G1 a queued job that is cancelled never runs: failed, cause cancelled', async ({ db }) => {
  const bugle = db.bugle()
  const ready = await bugle.put('q', 'ready')
  const scheduled = await bugle.put('q', 'scheduled', { delayMs: 100 })
  expect(await bugle.cancel(ready)).toBe('cancelled')
  expect(await bugle.cancel(scheduled)).toBe('cancelled')
  const seen: unknown[] = []
  const consumer = await bugle.consume('q', (job) => void seen.push(job.payload))
  // This job is due after the cancelled ones: when it runs, they would have run.
  await bugle.put('q', 'fence', { delayMs: 200 })
  await until(() => seen.length > 0)
  await consumer.idle()
  expect(seen).toEqual(['fence'])
  const failed = { state: 'failed', attempt: 0, last_error: { failedBy: 'cancelled' } }
  expect(await db.jobs()).toMatchObject([
    { id: ready, ...failed },
    { id: scheduled, ...failed },
  ])
  expect(await bugle.cancel(ready)).toBe('not-found')
  expect(await consumer.stop()).toMatchObject({ completed: 1, failed: 0 })
})

/** Who asks for the cancel of a running job, and how. */
const askers: Record<string, (db: TestDatabase, consuming: Bugle, id: string) => Promise<unknown>> = {
  'by the instance that runs it': async (_db, consuming, id) => expect(await consuming.cancel(id)).toBe('requested'),
  'by another instance': async (db, _consuming, id) => expect(await db.bugle().cancel(id)).toBe('requested'),
  'by the SQL function': (db, _consuming, id) => db.sql.unsafe(`select ${db.s}.cancel(${id})`),
  'by an update of its column': (db, _consuming, id) =>
    db.sql.unsafe(`update ${db.s}.job set cancel_requested_at = now() where id = ${id}`),
}
for (const [who, ask] of Object.entries(askers)) {
  test(`G2 a running job cancelled ${who} is told by its signal, fails as cancelled and is not retried`, async ({
    db,
    runningJob,
  }) => {
    // Neither sweep nor heartbeat: the notification does it.
    const bugle = db.bugle(withoutHeartbeat)
    const failed = db.collect(bugle, 'job:failed')
    const retrying = db.collect(bugle, 'job:retrying')
    const reason = signal<unknown>()
    const onFailed = signal<Error>()
    const { consumer, id } = await runningJob({
      bugle,
      handler: async (_job, ctx) => {
        const why = await aborted(ctx)
        reason.resolve(why)
        throw why
      },
      consume: { onFailed: (_job, error) => onFailed.resolve(error) },
    })
    await ask(db, bugle, id)
    expect(await reason.promise).toMatchObject({ name: 'BugleError', code: 'CANCELLED' })
    expect(await failed.next()).toMatchObject({ queue: 'q', id, attempt: 1, cause: 'cancelled' })
    expect(failed.all[0]?.error).toMatchObject({ code: 'CANCELLED' })
    expect(await onFailed.promise).toMatchObject({ code: 'CANCELLED' })
    expect(await db.jobs()).toMatchObject([{ id, state: 'failed', attempt: 1, last_error: { failedBy: 'cancelled' } }])
    await consumer.idle()
    expect(retrying.all).toEqual([])
    expect(failed.all).toHaveLength(1)
    expect(await consumer.stop()).toMatchObject({ completed: 0, failed: 1, interrupted: 0 })
  })
}

test('G2 a cancel reaches a handler in another process', async ({ db }) => {
  const process = startStopProcess(db, { queue: 'q', handler: 'promise', ms: 60_000, bugle: withoutHeartbeat })
  await process.next('consume')
  const id = await db.bugle().put('q', 1)
  await process.next('begin')
  expect(await db.bugle().cancel(id)).toBe('requested')
  expect((await process.next('abort')).code).toBe('CANCELLED')
  expect((await process.next('job:failed')).data).toMatchObject({ id, cause: 'cancelled' })
  expect(await db.jobs()).toMatchObject([{ id, state: 'failed', last_error: { failedBy: 'cancelled' } }])
})

const losses: Record<string, (db: TestDatabase) => Promise<{ bugle: Bugle }>> = {
  'its notification was lost': async (db) => {
    await db.sql.unsafe(`alter table ${db.s}.job disable trigger job_cancel`)
    return { bugle: db.bugle({ rescueAfterMs: 900 }) }
  },
  'nothing is listened to': async (db) => ({ bugle: db.bugle({ listen: false, rescueAfterMs: 900 }) }),
}
for (const [what, lose] of Object.entries(losses)) {
  test(`G2 a running job is told of its cancel also when ${what}`, async ({ db, runningJob }) => {
    const { bugle } = await lose(db)
    const failed = db.collect(bugle, 'job:failed')
    const { id } = await runningJob({ bugle, handler: interruptible })
    expect(await bugle.cancel(id)).toBe('requested')
    expect(await failed.next()).toMatchObject({ id, cause: 'cancelled', error: { code: 'CANCELLED' } })
    expect(await db.jobs()).toMatchObject([{ state: 'failed', last_error: { failedBy: 'cancelled' } }])
  })
}

test('G2 a cancel that comes while the listener is away is told when it is back', async ({ db, runningJob }) => {
  const bugle = db.bugle(withoutHeartbeat)
  const failed = db.collect(bugle, 'job:failed')
  const health = db.collect(bugle, 'listener:health')
  const { id } = await runningJob({ bugle, handler: interruptible })
  expect((await health.next()).to).toBe('live')
  await untilShown(db)
  // The commit sends the notification while nobody listens: the old listener is gone, and no new one can be there yet.
  await db.sql.begin(async (tx) => {
    await tx.unsafe(`update ${db.s}.job set cancel_requested_at = now() where id = $1`, [id])
    await db.kill(await db.backends('listener'))
  })
  expect(await failed.next()).toMatchObject({ id, cause: 'cancelled' })
})

test('G2 a cancel of one job leaves the others alone', async ({ db, gate }) => {
  const bugle = db.bugle(withoutHeartbeat)
  const failed = db.collect(bugle, 'job:failed')
  const end = gate()
  const signals = new Map<string, AbortSignal>()
  const all = signal()
  const consumer = await bugle.consume('q', async (job, ctx) => {
    signals.set(job.id, ctx.signal)
    if (signals.size === 3) all.resolve()
    await Promise.race([aborted(ctx), end.promise])
    ctx.signal.throwIfAborted()
  })
  const ids = await bugle.putMany('q', [1, 2, 3])
  await all.promise
  await bugle.cancel(ids[1] ?? '')
  await failed.next()
  await fence(db)
  expect(ids.map((id) => signals.get(id)?.aborted)).toEqual([false, true, false])
  end.resolve()
  await consumer.idle()
  expect(await db.jobs()).toMatchObject([{ id: ids[1], state: 'failed' }])
})

test('G2 a cancel at the very moment of the claim reaches the handler', async ({ db }) => {
  const bugle = db.bugle({ rescueAfterMs: 900 })
  const failed = db.collect(bugle, 'job:failed')
  await bugle.consume('q', async (_job, ctx) => {
    throw await aborted(ctx)
  })
  // The statement that claims also asks for the cancel: the notification comes before the claim's answer, or with it.
  await db.sql.unsafe(`
    create function ${db.s}.cancel_at_once() returns trigger language plpgsql as $$
    begin update ${db.s}.job set cancel_requested_at = clock_timestamp() where id = new.id; return null; end $$;
    create trigger cancel_at_once after update on ${db.s}.job for each row
      when (old.state <> 'running' and new.state = 'running') execute function ${db.s}.cancel_at_once()`)
  const ids = await bugle.putMany('q', [...Array(20).keys()])
  for (const _ of ids) expect(await failed.next()).toMatchObject({ cause: 'cancelled' })
})

test('G2 a requeued job that had been cancelled runs without that cancel', async ({ db }) => {
  const bugle = db.bugle({ rescueAfterMs: 900 })
  const id = await bugle.put('q', 1)
  await bugle.cancel(id)
  await bugle.requeue([id])
  const begun = signal<AbortSignal>()
  const go = signal()
  const consumer = await bugle.consume('q', async (_job, ctx) => {
    begun.resolve(ctx.signal)
    await go.promise
  })
  const own = await begun.promise
  await fence(db)
  expect(own.aborted).toBe(false)
  go.resolve()
  await consumer.idle()
  expect(await db.jobs()).toEqual([])
})
