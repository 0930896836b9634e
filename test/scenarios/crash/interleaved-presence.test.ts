import { expect, onTestFinished } from 'vitest'
import { signal, type TestDatabase } from '../../support/database.js'
import { test } from '../../support/gates.js'
import { at } from '../../support/held-proxy.js'
import { startProxy } from '../../support/proxy.js'
import { archivedRows } from '../../support/rows.js'
import { untilSoundAsleep } from '../../support/sleepers.js'
import { aborted, holdClaims, untilSeenAgain, withoutHeartbeat } from '../../support/stopping.js'
import { until } from '../../support/until.js'

// Each test puts two things into the one order that could go wrong: the second begins before the first is over.

test(
  'interleaving: a claim that is answered after its worker was given up is given back, and its job runs under the ' +
    'new id only',
  async ({ db }) => {
    const bugle = db.bugle(withoutHeartbeat)
    const lost = db.collect(bugle, 'worker:lost')
    const started = db.collect(bugle, 'job:started')
    const ran = signal()
    const consumer = await bugle.consume('q', () => ran.resolve(), { keep: 'all' })
    const former = bugle.workerId
    const claims = await holdClaims(db)
    const id = await bugle.put('q', null)
    await claims.untilHeld()
    await giveUp(db, former)
    const { newWorkerId } = await lost.next()
    await claims.open()
    await ran.promise
    expect(await consumer.stop()).toMatchObject({ completed: 1, released: 1, abandoned: [] })
    expect(started.all).toMatchObject([{ id, attempt: 1, workerId: newWorkerId }])
    expect(await archivedRows(db)).toMatchObject([{ id, attempt: 1, crashes: 0, worker_id: newWorkerId }])
  },
)

test(
  'interleaving: a handler that throws because its worker was given up is interrupted, and its last attempt is ' +
    'given back',
  async ({ db }) => {
    const bugle = db.bugle(withoutHeartbeat)
    const interrupted = db.collect(bugle, 'job:interrupted')
    const failed = db.collect(bugle, 'job:failed')
    const begun = signal()
    const ranAgain = signal()
    const consumer = await bugle.consume('q', async (_job, ctx) => {
      if (ctx.workerId !== former) return ranAgain.resolve()
      begun.resolve()
      throw await aborted(ctx)
    })
    const former = bugle.workerId
    const id = await bugle.put('q', null, { maxAttempts: 1 })
    await begun.promise
    await giveUp(db, former)
    const told = await Promise.race([interrupted.next(), failed.next()])
    expect(told).toMatchObject({ id, attempt: 1, workerId: former, reason: 'LEASE_LOST' })
    await ranAgain.promise
    expect(await consumer.stop()).toMatchObject({ completed: 1, failed: 0, interrupted: 1 })
    expect(failed.all).toEqual([])
    expect(await db.jobs()).toEqual([])
  },
)

test('interleaving: a worker asks for the word of one without a lock only after seconds of answers without it', async ({
  db,
}) => {
  const { hostname, port } = new URL(db.connectionString)
  const proxy = await startProxy({ host: hostname, port: Number(port) })
  onTestFinished(() => proxy.close())
  const rescueAfterMs = 1_000
  const bugle = db.bugle({ listenConnectionString: at(db, proxy.port), rescueAfterMs })
  const consumer = await bugle.consume('q', () => {})
  await untilSoundAsleep(db, consumer)
  const word = async (): Promise<number> =>
    (await db.sql.unsafe<{ rescue_after_ms: number }[]>(`select rescue_after_ms from ${db.s}.worker`))[0]
      ?.rescue_after_ms ?? 0
  await until(async () => (await word()) === rescueAfterMs)
  proxy.drop()
  await until(async () => (await db.backends('control')).length === 0)
  const goneAt = performance.now()
  for (let beats = 0; beats < 3; beats += 1) await untilSeenAgain(db, bugle.workerId)
  expect(await word()).toBe(rescueAfterMs)
  await until(async () => (await word()) !== rescueAfterMs)
  expect(await word()).toBe(60_000)
  // It takes three seconds of answers. The first may come a moment before this test sees that the backend is gone.
  expect(performance.now() - goneAt).toBeGreaterThan(2_500)
})

/** Removes the worker's row, as a burial does. The worker notices at once, when its control session comes back. */
async function giveUp(db: TestDatabase, workerId: string): Promise<void> {
  await db.sql.unsafe(`delete from ${db.s}.worker where id = $1`, [workerId])
  await db.kill(await db.backends('control'))
}
