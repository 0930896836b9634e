import { expect, onTestFinished } from 'vitest'
import { loadStatements } from '../../../src/database/statements.js'
import { signal, type TestDatabase } from '../../support/database.js'
import { test } from '../../support/gates.js'
import { at, heldProxy } from '../../support/held-proxy.js'
import { startProxy } from '../../support/proxy.js'
import { fullRows } from '../../support/rows.js'
import { holdersOfK, untilAwake, untilSoundAsleep } from '../../support/sleepers.js'
import {
  fence,
  holdClaims,
  isPending,
  timed,
  untilShown,
  withoutHeartbeat,
  workerRows,
} from '../../support/stopping.js'
import { until } from '../../support/until.js'

// Each test puts two things into the one order that could go wrong: the second begins before the first is over.

const byForce = { graceMs: 0, abortMs: 0 } as const

/** A stop that is not shortened takes longer: its statements wait for answers. */
const byForceMs = 3_000

test(
  'interleaving: a stopped consumer whose claim is answered late does not take K from its successor in the same ' +
    'process',
  async ({ db }) => {
    const proxy = await heldProxy(db)
    const { connectionString } = proxy
    const bugle = db.bugle({ connectionString, listenConnectionString: db.connectionString, ...withoutHeartbeat })
    await bugle.consume('stays', () => {})
    const former = await bugle.consume('hangs', () => {})
    await untilSoundAsleep(db, former)
    const hangs = proxy.holdAnswersTo('hangs')
    await notify(db, 'hangs')
    await hangs
    await former.stop(byForce)

    const ran = signal<string>()
    // Its second claim follows once it holds K.
    const holdsK = proxy.untilSent('hangs', 2)
    const successor = await bugle.consume('hangs', (job) => ran.resolve(job.id))
    await holdsK
    await untilSoundAsleep(db, successor)
    proxy.release()
    // The control session takes this K after it has given up that of the former consumer.
    await untilSoundAsleep(db, await bugle.consume('later', () => {}))
    expect(await holdersOfK(db, 'hangs')).toEqual(await db.backends('control'))
    const [row] = await db.sql.unsafe<{ id: string }[]>(`insert into ${db.s}.job (queue) values ('hangs') returning id`)
    expect(await ran.promise).toBe(row?.id)
  },
)

for (const how of ['stop', 'close'] as const) {
  test(`interleaving: a second ${how} by force shortens the first, which is already leaving a silent database`, async ({
    db,
  }) => {
    const proxy = await heldProxy(db)
    const bugle = db.bugle({ connectionString: proxy.connectionString, ...withoutHeartbeat })
    const consumer = await bugle.consume('q', () => {})
    // A consumer without K sends nothing before a heartbeat, the first statement of leaving. But the heartbeat that
    // shows its pause must be answered by then: one that is silenced takes the control session with it, and the only
    // connection of the pool asks who blocks it.
    await consumer.pause()
    await untilAwake(db, 'q')
    await untilShown(db, { isPaused: true })
    await fence(db)
    const end: (times?: typeof byForce) => Promise<unknown> = how === 'stop' ? consumer.stop : bugle.close
    proxy.silence()
    const leaves = proxy.untilSent(bugle.workerId)
    const first = end()
    await leaves
    expect(await isPending(first)).toBe(true)
    const { tookMs } = await timed(() => end(byForce))
    await first
    expect(tookMs).toBeLessThan(byForceMs)
    proxy.release()
  })
}

test(
  'interleaving: a second close by force shortens the first, which already waits for a put that a silent database ' +
    'does not answer',
  async ({ db }) => {
    const proxy = await heldProxy(db)
    const bugle = db.bugle({ connectionString: proxy.connectionString })
    await bugle.put('q', null)
    proxy.silence()
    const sent = proxy.untilSent('unanswered')
    const put = bugle.put('q', 'unanswered').catch((error) => error.code)
    await sent
    const first = bugle.close()
    expect(await isPending(first)).toBe(true)
    const { tookMs } = await timed(() => bugle.close(byForce))
    await first
    expect(tookMs).toBeLessThan(byForceMs)
    expect(await put).toEqual(expect.any(String))
    proxy.release()
  },
)

test('interleaving: the outcome of a handler that ends after the close, while the control session is away, is ' +
  'written when it is back', {
  timeout: 20_000,
}, async ({ db, gate }) => {
  const { hostname, port } = new URL(db.connectionString)
  const proxy = await startProxy({ host: hostname, port: Number(port) })
  onTestFinished(() => proxy.close())
  const bugle = db.bugle({ connectionString: at(db, proxy.port) })
  const acked = db.collect(bugle, 'job:acked')
  const begun = signal()
  const end = gate()
  await bugle.consume('q', () => {
    begun.resolve()
    return end.promise
  })
  const id = await bugle.put('q', null)
  await begun.promise
  await bugle.close(byForce)
  proxy.drop()
  await reconnects(proxy, 1)
  end.resolve()
  // By then an attempt to write its outcome has failed.
  await reconnects(proxy, 2)
  expect(await db.jobs()).toMatchObject([{ id, state: 'running' }])
  await proxy.heal()
  expect(await acked.next()).toMatchObject({ id, attempt: 1 })
  expect(await db.jobs()).toEqual([])
})

test(
  'interleaving: a stop that ends with a claim in flight leaves the worker present until that claim has given its ' +
    'jobs back',
  async ({ db }) => {
    const bugle = db.bugle(withoutHeartbeat)
    const started = db.collect(bugle, 'job:started')
    const consumer = await bugle.consume('q', () => {})
    const claims = await holdClaims(db)
    const id = await bugle.put('q', null)
    await claims.untilHeld()
    expect(await consumer.stop(byForce)).toMatchObject({ completed: 0, abandoned: [] })
    expect(await workerRows(db)).toMatchObject([{ id: bugle.workerId }])
    await claims.open()
    await until(async () => (await workerRows(db)).length === 0)
    expect(await fullRows(db)).toMatchObject([{ id, state: 'ready', attempt: 0, crashes: 0, worker_id: null }])
    expect(started.all).toEqual([])
  },
)

/** Sends a notification of a queue in which nothing was put. */
async function notify(db: TestDatabase, queue: string): Promise<void> {
  const [row] = await db.sql.unsafe<{ channel: string }[]>(loadStatements(db.schema).channel)
  await db.sql.notify(row?.channel ?? '', queue)
}

/** Waits for so many further connections. Each is made after the one before it has failed. */
async function reconnects(proxy: { readonly connections: number }, times: number): Promise<void> {
  const enough = proxy.connections + times
  await until(() => proxy.connections >= enough)
}
