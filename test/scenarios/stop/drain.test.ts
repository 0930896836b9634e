import { expect } from 'vitest'
import { reject } from '../../../src/index.js'
import { signal } from '../../support/database.js'
import { refusal } from '../../support/refusal.js'
import { test } from '../../support/running-job.js'
import { fence, isPending, nothing, untilNoSession, workerRows } from '../../support/stopping.js'

for (const concurrency of [1, 8]) {
  test(`E11 drain (concurrency ${concurrency}) runs what is there, resolves with counts and leaves nothing`, async ({
    db,
  }) => {
    const bugle = db.bugle()
    await bugle.putMany(
      'q',
      Array.from({ length: 60 }, (_, n) => n),
    )
    let running = 0
    let most = 0
    const report = await bugle.drain(
      'q',
      async (job) => {
        running += 1
        most = Math.max(most, running)
        await new Promise((resolve) => setImmediate(resolve))
        running -= 1
        if (Number(job.payload) % 10 === 0) return reject('a tenth')
      },
      { concurrency },
    )
    // Short handlers earn look-ahead. When the machine stands still for a moment, it goes back and is claimed again.
    expect(report).toEqual({ ...nothing, completed: 54, failed: 6, released: expect.any(Number) })
    expect(most).toBeLessThanOrEqual(concurrency)
    if (concurrency === 1) expect(most).toBe(1)
    const left = await db.jobs()
    expect(left).toHaveLength(6)
    expect(left.every(({ state }) => state === 'failed')).toBe(true)
    expect(await workerRows(db)).toEqual([])
    await bugle.close()
    await untilNoSession(db)
  })
}

test('E11 drain reaches its concurrency', async ({ db }) => {
  const bugle = db.bugle()
  await bugle.putMany('q', [...Array(16).keys()])
  let running = 0
  let reached = signal()
  const report = await bugle.drain(
    'q',
    async () => {
      running += 1
      if (running === 8) {
        reached.resolve()
        reached = signal()
        running = 0
      } else await reached.promise
    },
    { concurrency: 8 },
  )
  expect(report).toEqual({ ...nothing, completed: 16 })
})

test('E11 drain of an empty queue resolves with zeros', async ({ db }) => {
  const bugle = db.bugle()
  for (const until of ['ready', 'scheduled', undefined] as const) {
    const options = until === undefined ? {} : { until }
    expect(await bugle.drain('q', () => expect.unreachable(), options)).toEqual(nothing)
    expect(await workerRows(db)).toEqual([])
  }
})

test('E11 jobs that handlers put meanwhile are run too', async ({ db }) => {
  const bugle = db.bugle()
  await bugle.put('q', 5)
  const seen: unknown[] = []
  const report = await bugle.drain('q', async (job, ctx) => {
    seen.push(job.payload)
    if (Number(job.payload) > 0) await ctx.bugle.put('q', Number(job.payload) - 1)
  })
  expect(seen).toEqual([5, 4, 3, 2, 1, 0])
  expect(report).toEqual({ ...nothing, completed: 6 })
  expect(await db.jobs()).toEqual([])
})

test('E11 a row that somebody has locked is ready all the same: drain waits for it', async ({ db }) => {
  const bugle = db.bugle()
  const [first] = await bugle.putMany('q', ['locked', 'free'])
  const session = db.connect()
  await session.unsafe(`begin; select from ${db.s}.job where id = ${first} for update`)
  const freeRan = signal()
  const seen: unknown[] = []
  const drained = bugle.drain('q', (job) => {
    seen.push(job.payload)
    if (job.payload === 'free') freeRan.resolve()
  })
  await freeRan.promise
  await fence(db)
  expect(await isPending(drained)).toBe(true)
  await session.unsafe('rollback')
  expect(await drained).toEqual({ ...nothing, completed: 2 })
  expect(seen).toEqual(['free', 'locked'])
})

test('E11 jobs that another consumer runs are not waited for', async ({ db, runningJob }) => {
  const { consumer, end } = await runningJob({ consume: { concurrency: 1 }, payload: 'theirs' })
  const bugle = db.bugle()
  await bugle.put('q', 'ours')
  expect(await bugle.drain('q', () => {})).toEqual({ ...nothing, completed: 1 })
  expect(await db.jobs()).toMatchObject([{ payload: 'theirs', state: 'running' }])
  end.resolve()
  await consumer.stop()
})

test('E11 drain of some kinds ends though jobs of other kinds are ready', async ({ db }) => {
  const bugle = db.bugle()
  await bugle.put('q', 1, { kind: 'ours' })
  await bugle.put('q', 2, { kind: 'theirs' })
  await bugle.put('q', 3)
  for (const until of ['ready', 'scheduled'] as const) {
    const seen: unknown[] = []
    await bugle.drain('q', { ours: (job) => void seen.push(job.payload) }, { until })
    expect(seen).toEqual(until === 'ready' ? [1] : [])
  }
  expect(await db.jobs()).toMatchObject([
    { payload: 2, state: 'ready' },
    { payload: 3, state: 'ready' },
  ])
})

test('E11 drain without some flags ends though jobs with them are ready', async ({ db }) => {
  const bugle = db.bugle()
  await bugle.put('q', 1)
  await bugle.put('q', 2, { flags: ['gpu'] })
  expect(await bugle.drain('q', () => {}, { withoutFlags: ['gpu'] })).toEqual({ ...nothing, completed: 1 })
  expect(await db.jobs()).toMatchObject([{ payload: 2, state: 'ready' }])
})

test(
  'E11 drain of a queue that this instance consumes, or drains, is ALREADY_CONSUMING; afterwards it can be ' +
    'consumed',
  async ({ db, gate }) => {
    const bugle = db.bugle()
    const consumer = await bugle.consume('q', () => {})
    expect((await refusal(() => bugle.drain('q', () => {}))).code).toBe('ALREADY_CONSUMING')
    await consumer.stop()

    const begun = signal()
    const end = gate()
    await bugle.put('q', 1)
    const drained = bugle.drain('q', async () => {
      begun.resolve()
      await end.promise
    })
    await begun.promise
    expect((await refusal(() => bugle.drain('q', () => {}))).code).toBe('ALREADY_CONSUMING')
    expect((await refusal(() => bugle.consume('q', () => {}))).code).toBe('ALREADY_CONSUMING')
    end.resolve()
    expect(await drained).toEqual({ ...nothing, completed: 1 })

    const ran = signal()
    await bugle.consume('q', () => ran.resolve())
    await bugle.put('q', 2)
    await ran.promise
  },
)

test('E11 what drain does not know is refused', async ({ db }) => {
  const bugle = db.bugle()
  const options = [{ until: 'empty' }, { until: null }, { forever: true }, { concurrency: 0 }]
  for (const given of options) {
    expect((await refusal(() => bugle.drain('q', () => {}, given as never))).code).toBe('INVALID_OPTION')
  }
  expect((await refusal(() => bugle.drain('', () => {}))).code).toBe('INVALID_QUEUE')
  expect((await refusal(() => bugle.consume('q', () => {}, { until: 'ready' } as never))).code).toBe('INVALID_OPTION')
  await bugle.close()
  expect((await refusal(() => bugle.drain('q', () => {}))).code).toBe('CLOSED')
})

test('E11 two processes drain one queue: each job once, and both end', async ({ db }) => {
  const seen: unknown[] = []
  const put = db.bugle()
  await put.putMany('q', [...Array(200).keys()])
  const reports = await Promise.all(
    [1, 2].map(() => db.bugle().drain('q', (job) => void seen.push(job.payload), { concurrency: 4 })),
  )
  expect(reports.reduce((sum, { completed }) => sum + completed, 0)).toBe(200)
  expect(new Set(seen).size).toBe(200)
  expect(seen).toHaveLength(200)
  expect(await db.jobs()).toEqual([])
})

test('E11 with listen: false a drain does as well', async ({ db }) => {
  const bugle = db.bugle({ listen: false })
  await bugle.put('q', 1)
  await bugle.put('q', 2, { delayMs: 200 })
  expect(await bugle.drain('q', () => {}, { until: 'scheduled' })).toEqual({ ...nothing, completed: 2 })
})
