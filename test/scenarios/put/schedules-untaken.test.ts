import { expect, onTestFinished } from 'vitest'
import type { ConsumeOptions, Job } from '../../../src/index.js'
import { signal, type TestDatabase, test } from '../../support/database.js'
import { debugLines } from '../../support/debug-lines.js'
import { beforeALook, countPromotions, untilDue } from '../../support/due-jobs.js'
import { startProxy } from '../../support/proxy.js'
import { untilSoundAsleep } from '../../support/sleepers.js'

/** Due jobs that a consumer cannot take: what is put, and what it is told to leave. */
const untaken: Record<string, { put: (db: TestDatabase) => Promise<unknown>; options: ConsumeOptions }> = {
  'of a kind that nobody here handles': {
    put: (db) => db.bugle().putMany('q', [1, 2, 3], { kind: 'other', delayMs: 50 }),
    options: {},
  },
  'without a kind, where only kinds are handled': {
    put: (db) => db.bugle().putMany('q', [1, 2, 3], { delayMs: 50 }),
    options: {},
  },
  'with a flag that is left to others': {
    put: (db) => db.bugle().putMany('q', [1, 2, 3], { kind: 'own', flags: ['gpu'], delayMs: 50 }),
    options: { withoutFlags: ['gpu'] },
  },
  'that somebody holds locked': {
    put: async (db) => {
      await db.bugle().put('q', 'locked', { kind: 'other', delayMs: 50 })
      const stranger = db.connect()
      await stranger.unsafe(`begin; select from ${db.s}.job for update`)
    },
    options: {},
  },
}

for (const [what, { put, options }] of Object.entries(untaken)) {
  test(`B8 due jobs ${what} do not make a consumer spin`, beforeALook, async ({ db }) => {
    const { hostname, port } = new URL(db.connectionString)
    const proxy = await startProxy({ host: hostname, port: Number(port) })
    onTestFinished(() => proxy.close())
    const through = Object.assign(new URL(db.connectionString), { port: String(proxy.port) })
    const bugle = db.bugle({ connectionString: through.href })
    const seen: unknown[] = []
    const fence = signal()
    const own = (job: Job): void => {
      seen.push(job.payload)
      fence.resolve()
    }
    const consumer = await bugle.consume('q', { own }, options)
    await untilSoundAsleep(db, consumer)
    await put(db)
    await untilDue(db)
    const before = proxy.sent
    // Time goes by until this one is due; its consumer has nothing else to do meanwhile.
    await db.bugle().put('q', 'fence', { kind: 'own', delayMs: 700 })
    await fence.promise
    await bugle.close()
    // Claims, looks at the locked row at ever longer intervals, the steps into sleep, and the end.
    expect(proxy.sent - before).toBeLessThan(60)
    expect(seen).toEqual(['fence'])
  })
}

test('B8 a due job that somebody holds locked runs when it is let go', beforeALook, async ({ db }) => {
  const sweeps = debugLines('bugle:sweep')
  const bugle = db.bugle()
  const ran = signal<unknown>()
  const consumer = await bugle.consume('q', (job) => ran.resolve(job.payload))
  await untilSoundAsleep(db, consumer)
  const id = await bugle.put('q', 'locked', { delayMs: 200 })
  const stranger = db.connect()
  await stranger.unsafe(`begin; select from ${db.s}.job where id = ${id} for share`)
  await untilDue(db)
  await consumer.idle()
  await stranger.unsafe('rollback')
  expect(await ran.promise).toBe('locked')
  expect(sweeps).toEqual([])
})

test(
  'B8 a due job that somebody holds locked is not asked for with every claim of a busy consumer',
  beforeALook,
  async ({ db }) => {
    const promotions = await countPromotions(db)
    const bugle = db.bugle()
    const due = await bugle.put('q', 'due', { delayMs: 10 })
    const stranger = db.connect()
    await stranger.unsafe(`begin; select from ${db.s}.job where id = ${due} for update`)
    await untilDue(db)
    const acked = db.collect(bugle, 'job:acked')
    const consumer = await bugle.consume('q', () => {}, { concurrency: 1 })
    // It knows of that one before it has anything else to do.
    await consumer.idle()
    await bugle.putMany('q', Array(500).fill('backlog'))
    for (let n = 0; n < 500; n += 1) await acked.next()
    // At ever longer intervals, up to a second.
    expect(await promotions()).toBeLessThan(50)
    await stranger.unsafe('rollback')
    expect((await acked.next()).id).toBe(due)
    await consumer.idle()
    expect(await db.jobs()).toEqual([])
  },
)
