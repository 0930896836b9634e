import { expect } from 'vitest'
import { loadStatements } from '../../../src/database/statements.js'
import type { Bugle, BugleOptions } from '../../../src/index.js'
import type { TestDatabase } from '../../support/database.js'
import { test } from '../../support/gates.js'
import { orphans } from '../../support/orphans.js'
import { heartbeats, holders, lockHeld, workerIds } from '../../support/presence.js'
import { startProxy } from '../../support/proxy.js'
import { archivedRows, fullRows } from '../../support/rows.js'
import { until } from '../../support/until.js'

const rescueAfterMs = 1_000
const quick = { rescueAfterMs, hungAfterMs: 300_000 } as const satisfies BugleOptions

test('survivors do not rob each other when all control sessions are killed at once', async ({ db, gate }) => {
  const { promise, resolve } = gate()
  const bugles = [db.bugle({ rescueAfterMs: 300 }), db.bugle({ rescueAfterMs: 300 }), db.bugle({ rescueAfterMs: 300 })]
  const told = bugles.flatMap((bugle) => [db.collect(bugle, 'worker:rescued'), db.collect(bugle, 'worker:lost')])
  const started = bugles.map((bugle) => db.collect(bugle, 'job:started'))
  for (const [n, bugle] of bugles.entries()) {
    await bugle.consume(`q${n}`, () => promise, { keep: 'all' })
    await bugle.put(`q${n}`, n)
    await started[n]?.next()
  }
  for (let n = 0; n < 3; n += 1) {
    await db.kill(await db.backends('control'))
    for (const bugle of bugles) await lockHeld(db, bugle)
    for (const bugle of bugles) await heartbeats(db, bugle, 4)
  }
  expect(told.flatMap(({ all }) => all as unknown[])).toEqual([])
  resolve()
  await Promise.all(bugles.map((bugle) => bugle.close()))
  for (const row of await archivedRows(db)) expect(row).toMatchObject({ attempt: 1, crashes: 0 })
  expect(await archivedRows(db)).toHaveLength(3)
})

test('one that is back first does not rob one that is back later: three times its rescueAfterMs', async ({
  db,
  gate,
}) => {
  const { hostname, port } = new URL(db.connectionString)
  const proxy = await startProxy({ host: hostname, port: Number(port) })
  const through = new URL(db.connectionString)
  through.port = String(proxy.port)
  const late = db.bugle({ connectionString: through.href, rescueAfterMs })
  const first = db.bugle({ rescueAfterMs })
  const told = [late, first].flatMap((bugle) => [db.collect(bugle, 'worker:rescued'), db.collect(bugle, 'worker:lost')])
  const { promise, resolve } = gate()
  const started = db.collect(late, 'job:started')
  await late.consume('q', () => promise, { keep: 'all' })
  const id = await late.put('q', {})
  await started.next()
  await first.consume('other', () => {})
  for (const bugle of [late, first]) await lockHeld(db, bugle)

  // As at a restart: every session ends, and one of them finds its way back later than the other.
  await proxy.refuse()
  await db.kill([...(await db.backends('control')), ...(await db.backends('listener')), ...(await db.backends(''))])
  await lockHeld(db, first)
  // Six heartbeats take more than one and a half times rescueAfterMs, and less than twice that.
  await heartbeats(db, first, 6)
  await proxy.heal()
  await lockHeld(db, late)
  resolve()
  await late.close()
  expect(told.flatMap(({ all }) => all as unknown[])).toEqual([])
  expect(await archivedRows(db)).toMatchObject([{ id, attempt: 1, crashes: 0 }])
  await proxy.close()
})

test('a new control session takes the presence lock beside its predecessor, and ends that', async ({ db }) => {
  const bugle = db.bugle({ rescueAfterMs: 300 })
  await bugle.consume('q', () => {})
  await lockHeld(db, bugle)
  // Another session plays the half-open predecessor: its server process lives, and no client is behind it.
  const predecessor = db.connect()
  const [own] = await predecessor<{ pid: number }[]>`select pg_backend_pid() as pid`
  const held = predecessor.unsafe(loadStatements(db.schema).presence_take, [bugle.workerId])
  await held
  expect(await holders(db, bugle.workerId)).toHaveLength(2)
  await db.kill(await db.backends('control'))
  await lockHeld(db, bugle)
  await until(async () => {
    const pids = await holders(db, bugle.workerId)
    return pids.length === 1 && !pids.includes(own?.pid ?? 0)
  })
})

test('presence: the row asks for rescueAfterMs where the lock is held, and for a minute where it is not', async ({
  db,
}) => {
  const direct = db.bugle(quick)
  await direct.consume('q', () => {})
  await lockHeld(db, direct)
  const blind = db.bugle({ ...quick, listen: false })
  await blind.consume('q', () => {})
  await heartbeats(db, blind, 2)
  expect(await words(db, direct)).toEqual({ rescue_after_ms: 1_000, hung_after_ms: 300_000 })
  expect(await words(db, blind)).toEqual({ rescue_after_ms: 60_000, hung_after_ms: 300_000 })
  expect(await holders(db, direct.workerId)).toEqual(await db.backends('control'))
})

test('presence: a worker that finds its row gone takes a new id and goes on', async ({ db, gate }) => {
  const bugle = db.bugle({ rescueAfterMs: 300 })
  const lost = db.collect(bugle, 'worker:lost')
  const { promise, resolve } = gate()
  const reasons: string[] = []
  const started = db.collect(bugle, 'job:started')
  await bugle.consume('q', async (job, ctx) => {
    if (job.payload !== 'first') return
    ctx.signal.addEventListener('abort', () => reasons.push(ctx.signal.reason.code))
    await promise
  })
  await bugle.put('q', 'first')
  await started.next()
  const { workerId } = bugle
  await db.sql.unsafe(`delete from ${db.s}.worker`)
  const told = await lost.next()
  expect(told).toEqual({ queue: null, workerId, newWorkerId: bugle.workerId })
  expect(told.newWorkerId).not.toBe(workerId)
  expect(reasons[0]).toBe('LEASE_LOST')
  await lockHeld(db, bugle)
  await bugle.put('q', 'second')
  for (;;) if ((await started.next()).workerId === bugle.workerId) break
  resolve()
})

test('presence: rows that nothing explains are given back when the worker leaves, and its row goes', async ({ db }) => {
  // No heartbeat comes before the stop.
  const bugle = db.bugle({ rescueAfterMs: 3_600_000, hungAfterMs: 3_600_000 })
  const consumer = await bugle.consume('q', () => {})
  await consumer.idle()
  const [id] = await orphans(db, 1, { worker_id: bugle.workerId })
  await consumer.stop()
  expect(await fullRows(db)).toMatchObject([{ id, state: 'ready', attempt: 0, crashes: 0, worker_id: null }])
  expect(await workerIds(db)).toEqual([])
})

test('presence: it outlasts the instance while an abandoned handler runs, whose outcome still counts', async ({
  db,
  gate,
}) => {
  const { promise, resolve } = gate()
  const bugle = db.bugle({ rescueAfterMs: 300 })
  const other = db.bugle({ rescueAfterMs: 300 })
  const rescued = db.collect(other, 'worker:rescued')
  await other.consume('other', () => {})
  const started = db.collect(bugle, 'job:started')
  const acked = db.collect(bugle, 'job:acked')
  await bugle.consume('q', () => promise, { keep: 'all' })
  const id = await bugle.put('q', {})
  await started.next()
  await lockHeld(db, bugle)
  await bugle.close({ graceMs: 0, abortMs: 0 })
  await heartbeats(db, bugle, 8)
  // Its pool and listener are gone, its control session is not: both instances have one.
  expect(await db.backends('control')).toHaveLength(2)
  expect(await db.backends('listener')).toHaveLength(1)
  resolve()
  expect(await acked.next()).toMatchObject({ id, attempt: 1 })
  await until(async () => !(await workerIds(db)).includes(bugle.workerId))
  await until(async () => (await db.backends('control')).length <= 1)
  expect(await archivedRows(db)).toMatchObject([{ id, attempt: 1, crashes: 0 }])
  expect(rescued.all).toEqual([])
})

/** The times that the worker's row asks for. */
async function words(db: TestDatabase, bugle: Bugle): Promise<unknown> {
  const [row] = await db.sql.unsafe(
    `select rescue_after_ms, hung_after_ms from ${db.s}.worker where id = ${bugle.workerId}`,
  )
  return row
}
