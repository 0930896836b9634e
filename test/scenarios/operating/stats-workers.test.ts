import { expect } from 'vitest'
import { loadStatements } from '../../../src/database/statements.js'
import type { Bugle, BugleStats, WorkerStats } from '../../../src/index.js'
import { startCrashProcess } from '../../support/crash-process.js'
import { test } from '../../support/gates.js'
import { exactly, insertWorker, none, queueOf } from '../../support/stats.js'
import { until } from '../../support/until.js'

function workerOf({ workers }: BugleStats, id: string): WorkerStats | undefined {
  return workers.find((one) => one.id === id)
}

/** Waits for stats that show what is asked. @returns the first such stats */
function untilStats(look: () => Promise<BugleStats>, isSo: (stats: BugleStats) => boolean): Promise<BugleStats> {
  return until(async () => {
    const stats = await look()
    return isSo(stats) && stats
  })
}

test(
  'H1 several workers: what each consumes with how many slots, kinds and pauses; a change is seen without a ' +
    'heartbeat’s wait',
  async ({ db }) => {
    // Their heartbeats come at least a minute apart: the test waits for none of them.
    const slow = { rescueAfterMs: 300_000 }
    const [one, two] = [db.bugle({ ...slow, name: 'one' }), db.bugle({ ...slow, name: 'two' })]
    const emails = await one.consume('emails', () => {}, { concurrency: 3 })
    await one.consume('media', { thumb: () => {}, probe: () => {} }, { concurrency: 4 })
    await two.consume('emails', { letter: () => {} }, { concurrency: 5, unknownKinds: 'fail' })
    const look = () => two.stats()
    const consumersOf = (stats: BugleStats, bugle: Bugle) => workerOf(stats, bugle.workerId)?.consumers ?? []

    const served = { kinds: null, isPaused: false }
    const all = await untilStats(
      look,
      (stats) => consumersOf(stats, one).length === 2 && consumersOf(stats, two).length === 1,
    )
    expect(workerOf(all, one.workerId)).toEqual({
      id: one.workerId,
      name: 'one',
      host: expect.any(String),
      pid: process.pid,
      version: expect.any(String),
      startedAt: expect.any(Date),
      seenMsAgo: expect.any(Number),
      state: 'live',
      running: none,
      consumers: [
        { queue: 'emails', concurrency: 3, ...served },
        { queue: 'media', concurrency: 4, ...served, kinds: ['thumb', 'probe'] },
      ],
    })
    expect(consumersOf(all, two)).toEqual([{ queue: 'emails', concurrency: 5, ...served }])
    expect(queueOf(all, 'emails')).toMatchObject({ workers: 2, slots: 8, isPaused: false, here: { concurrency: 5 } })
    expect(queueOf(all, 'media')).toMatchObject({ workers: 1, slots: 4, here: null })

    await emails.pause()
    const paused = await untilStats(look, (stats) => consumersOf(stats, one)[0]?.isPaused === true)
    expect(queueOf(paused, 'emails')).toMatchObject({ workers: 2, slots: 5, isPaused: false })
    emails.resume()
    await untilStats(look, (stats) => consumersOf(stats, one)[0]?.isPaused === false)
    await two.pause('emails')
    expect(queueOf(await look(), 'emails')).toMatchObject({ workers: 2, slots: 8, isPaused: true })

    await emails.stop()
    const left = await untilStats(look, (stats) => consumersOf(stats, one).length === 1)
    expect(queueOf(left, 'emails')).toMatchObject({ workers: 1, slots: 5 })
    await one.close()
    expect((await look()).workers.map(({ id }) => id)).toEqual([two.workerId])
  },
)

test('H1 a consumer that is being stopped, its handler still running, serves no more', async ({ db, gate }) => {
  const bugle = db.bugle({ rescueAfterMs: 300_000 })
  const { promise: held, resolve: letGo } = gate()
  const begun = gate()
  await bugle.put('q', null)
  const consumer = await bugle.consume('q', () => {
    begun.resolve()
    return held
  })
  await begun.promise
  const serves = ({ workers: [worker] }: BugleStats) => worker?.consumers.length
  await untilStats(
    () => bugle.stats(),
    (stats) => serves(stats) === 1,
  )
  const stopped = consumer.stop({ graceMs: Number.POSITIVE_INFINITY })
  const stats = await untilStats(
    () => bugle.stats(),
    (now) => serves(now) === 0,
  )
  expect(stats.workers[0]?.running).toEqual(exactly(1))
  expect(queueOf(stats, 'q')).toMatchObject({ running: exactly(1), workers: 0, slots: 0, here: { active: 1 } })
  letGo()
  expect(await stopped).toMatchObject({ completed: 1 })
})

test('H1 a process that was killed with running jobs is dead, and its jobs run until somebody rescues them', async ({
  db,
}) => {
  const bugle = db.bugle()
  const process = await startCrashProcess(db, { options: { rescueAfterMs: 1_000 }, concurrency: 3 })
  await bugle.putMany(
    'q',
    Array.from({ length: 2 }, () => ({ does: 'hold' })),
  )
  await process.ran(2)
  const look = () => bugle.stats()
  const alive = await untilStats(look, ({ workers: [worker] }) => worker?.consumers.length === 1)
  expect(alive.workers).toMatchObject([
    { id: process.workerId, name: 'crash', pid: process.pid, state: 'live', running: exactly(2) },
  ])
  expect(queueOf(alive, 'q')).toMatchObject({ running: exactly(2), workers: 1, slots: 3 })

  await process.kill('SIGKILL')
  const dead = await untilStats(look, ({ workers: [worker] }) => worker?.state !== 'live')
  expect(dead.workers).toMatchObject([{ id: process.workerId, state: 'dead', running: exactly(2) }])
  expect(dead.workers[0]?.seenMsAgo).toBeGreaterThan(1_000)
  expect(queueOf(dead, 'q')).toMatchObject({ running: exactly(2), workers: 0, slots: 0 })

  const rescuer = db.bugle({ rescueAfterMs: 300 })
  await rescuer.consume('q', () => {})
  const rescued = await untilStats(look, (stats) => queueOf(stats, 'q')?.here === null && stats.workers.length === 1)
  expect(rescued.workers).toMatchObject([{ id: rescuer.workerId, state: 'live' }])
})

test('H1 a worker whose heartbeats stopped: dead without its lock, live with it, and hung when that lasts', async ({
  db,
}) => {
  const bugle = db.bugle()
  await insertWorker(db, 1, '4 s')
  await insertWorker(db, 2, '6 s')
  await insertWorker(db, 3, '6 s')
  await insertWorker(db, 4, '301 s')
  const { presence_take } = loadStatements(db.schema)
  const holder = db.connect()
  for (const id of ['3', '4']) await holder.unsafe(presence_take, [id])
  const states = async () => (await bugle.stats()).workers.map(({ id, state }) => [id, state]).sort()
  // Worker 1 has less than a second left, and the machine may stand still for longer than that.
  expect(['live', 'dead']).toContain((await states())[0]?.[1])
  expect((await states()).slice(1)).toEqual([
    ['2', 'dead'],
    ['3', 'live'],
    ['4', 'hung'],
  ])
  await db.sql.unsafe(`update ${db.s}.worker set seen_at = now() + interval '1 h' where id = 1`)
  expect((await states())[0]).toEqual(['1', 'live'])
})
