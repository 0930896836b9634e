import { expect } from 'vitest'
import { partial, reject, release, retry } from '../../../src/index.js'
import { broken } from '../../support/broken.js'
import { test } from '../../support/database.js'
import { fullRows } from '../../support/rows.js'

const keys = ['a', 'b', 'c']

/** How runs end, in turn: with all ways on which a job comes back, or lets go of its key. */
const ends: (() => unknown)[] = [
  () => {},
  broken,
  () => release({ delayMs: 0 }),
  () => partial(1, { delayMs: 2 }),
  () => retry({ delayMs: 0 }),
  () => reject('no'),
]

test('H5 while running: no two jobs of a key run at once, whoever puts, requeues, edits and cancels', async ({
  db,
}) => {
  const running = new Map<string, number>()
  let runs = 0
  let most = 0
  const instances = [db.bugle({ poolSize: 12 }), db.bugle({ poolSize: 12 })]
  const consumers = await Promise.all(
    instances.map((bugle) =>
      bugle.consume(
        'q',
        async ({ key }) => {
          const own = (running.get(key ?? '') ?? 0) + 1
          running.set(key ?? '', own)
          most = Math.max(most, own)
          runs += 1
          const nth = runs
          await new Promise((resolve) => setImmediate(resolve))
          running.set(key ?? '', (running.get(key ?? '') ?? 0) - 1)
          return ends[nth % ends.length]?.()
        },
        { concurrency: 6, retryStrategy: { maxAttempts: 3 } },
      ),
    ),
  )
  const bugle = db.bugle({ poolSize: 16 })
  const isOver = (): boolean => runs >= 400
  const putting = Array.from({ length: 6 }, async (_, n) => {
    for (let round = 0; !isOver(); round += 1) {
      const unique = { key: keys[(n + round) % keys.length] ?? '', while: 'running' } as const
      const keyMode = (['keep', 'reject', 'replace'] as const)[round % 3] ?? 'keep'
      await bugle.put('q', n, { unique, keyMode }).catch((error) => expect(error).toMatchObject({ code: 'KEY_TAKEN' }))
    }
  })
  const operating = (async () => {
    while (!isOver()) {
      await bugle.requeue({ queue: 'q' })
      for (const { id } of (await bugle.jobs({ queue: 'q', state: 'scheduled' })).jobs) {
        await bugle.edit(id, { delayMs: 0 })
      }
      await bugle.cancel({ queue: 'q', state: 'ready', limit: 1 })
    }
  })()
  await Promise.all([...putting, operating])
  await Promise.all(consumers.map((consumer) => consumer.stop()))
  expect(most).toBe(1)
  expect([...running.values()]).toEqual([0, 0, 0])
})

test('H5 for a time: of many puts of a key at once, whose jobs end at once, one becomes a job', async ({ db }) => {
  const bugle = db.bugle({ poolSize: 20 })
  const runs: string[] = []
  const consumer = await bugle.consume('q', ({ key, id }) => void runs.push(`${key} ${id}`))
  const rounds = 40
  for (let round = 0; round < rounds; round += 1) {
    const unique = { key: `key ${round}`, forMs: 3_600_000 }
    const ids = await Promise.all(Array.from({ length: 8 }, (_, n) => bugle.put('q', n, { unique })))
    expect(new Set(ids).size, `round ${round}`).toBe(1)
  }
  await consumer.idle()
  expect(runs).toHaveLength(rounds)
  expect(await fullRows(db)).toEqual([])
  expect(await db.sql.unsafe(`select from ${db.s}.taken_key`)).toHaveLength(rounds)
})
