import { expect } from 'vitest'
import { signal } from '../../support/database.js'
import { test } from '../../support/gates.js'
import { aborted, marginMs, nothing, timed, untilNoSession, untilState, workerRows } from '../../support/stopping.js'
import { until } from '../../support/until.js'

test('close with several consumers stops them all by one deadline', async ({ db, gate }) => {
  const bugle = db.bugle()
  const end = gate()
  const consumers = []
  const ids = []
  for (const queue of ['a', 'b', 'c']) {
    const begun = signal<string>()
    consumers.push(
      await bugle.consume(queue, async (job, ctx) => {
        begun.resolve(job.id)
        if (queue === 'a') throw await aborted(ctx)
        await end.promise
      }),
    )
    await bugle.put(queue, null)
    ids.push(await begun.promise)
  }
  const { tookMs } = await timed(() => bugle.close({ graceMs: 100, abortMs: 200 }))
  expect(tookMs).toBeLessThan(300 + marginMs)
  const [a, b, c] = await Promise.all(consumers.map(({ stopped }) => stopped))
  expect(a).toEqual({ ...nothing, interrupted: 1 })
  expect(b).toMatchObject({ ...nothing, abandoned: [{ id: ids[1] }] })
  expect(c).toMatchObject({ ...nothing, abandoned: [{ id: ids[2] }] })
  await expect(bugle.put('a', 1)).rejects.toMatchObject({ code: 'CLOSED' })
})

test('close without times takes those of each consumer, or else of the instance', async ({ db }) => {
  const bugle = db.bugle({ graceMs: 30, abortMs: 40 })
  const stopping = db.collect(bugle, 'consumer:stopping')
  const handler = async (_job: unknown, ctx: { signal: AbortSignal }): Promise<void> => {
    all.shift()?.resolve()
    throw await aborted(ctx)
  }
  const all = [signal(), signal()]
  const begun = all.map(({ promise }) => promise)
  await bugle.consume('a', handler)
  await bugle.consume('b', handler, { graceMs: 10 })
  await bugle.put('a', 1)
  await bugle.put('b', 1)
  await Promise.all(begun)
  await bugle.close()
  expect(stopping.all).toHaveLength(2)
  expect(stopping.all).toEqual(
    expect.arrayContaining([
      { queue: 'a', graceMs: 30, forced: false },
      { queue: 'b', graceMs: 10, forced: false },
    ]),
  )
  expect(await db.jobs()).toMatchObject([
    { state: 'ready', attempt: 0 },
    { state: 'ready', attempt: 0 },
  ])
})

test(
  'E7 close during the start, with a job that its first claim takes: whatever came first, the job is left as it ' +
    'was or done',
  async ({ db }) => {
    for (let round = 0; round < 5; round += 1) {
      const bugle = db.bugle()
      const id = await bugle.put('q', round)
      const starting = bugle.consume('q', async (_job, ctx) => {
        throw await aborted(ctx)
      })
      if (round > 0) await until(async () => (await workerRows(db)).length > 0)
      if (round > 2) await Promise.race([untilState(db, id, 'running'), starting])
      await bugle.close({ graceMs: 0, abortMs: 10_000 })
      expect((await starting).isRunning).toBe(false)
      expect(await db.jobs()).toMatchObject([{ id, state: 'ready', attempt: 0, worker_id: null }])
      expect(await workerRows(db)).toEqual([])
      await db.sql.unsafe(`delete from ${db.s}.job`)
    }
  },
)

test('E7 a consumer and an instance can be disposed of by `await using`', async ({ db }) => {
  const bugle = db.bugle()
  const consumer = await bugle.consume('q', () => {})
  // `await using` calls this method; its syntax is too new for Node 20.
  await consumer[Symbol.asyncDispose]()
  expect(await consumer.stopped).toEqual(nothing)
  const second = await bugle.consume('q', () => {})
  await bugle[Symbol.asyncDispose]()
  expect(await second.stopped).toEqual(nothing)
  await untilNoSession(db)
})
