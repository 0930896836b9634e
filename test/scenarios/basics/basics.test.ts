import { expect } from 'vitest'
import { ack, reject } from '../../../src/index.js'
import { test } from '../../support/database.js'

test('A1 put returns an id; an acked job is gone', async ({ db }) => {
  const bugle = db.bugle()
  const seen: unknown[] = []
  const consumer = await bugle.consume('emails', (job) => void seen.push([job.id, job.payload, job.attempt]))
  const id = await bugle.put('emails', { to: 'a@example.org' })
  expect(id).toMatch(/^\d+$/)
  await consumer.idle()
  expect(seen).toEqual([[id, { to: 'a@example.org' }, 1]])
  expect(await db.jobs()).toEqual([])
})

test('A1 putMany returns the ids in the order of the payloads, and each job runs with its own', async ({ db }) => {
  const bugle = db.bugle()
  const ids = await bugle.putMany('emails', [0, 1, 2, 3, 4], (payload) => ({ priority: payload as number }))
  const seen: unknown[] = []
  const consumer = await bugle.consume('emails', (job) => void seen.push([job.id, job.payload, job.priority]), {
    concurrency: 1,
  })
  await consumer.idle()
  // The highest priority runs first.
  expect(seen).toEqual(ids.map((id, index) => [id, index, index]).reverse())
  expect(await db.jobs()).toEqual([])
})

test('A2 a rejected job stays failed with its reason and attempt 1, and does not run again', async ({ db }) => {
  const bugle = db.bugle()
  const failed = db.collect(bugle, 'job:failed')
  const runs: string[] = []
  const consumer = await bugle.consume('emails', (job) => {
    runs.push(job.id)
    return job.payload === 'bad' ? reject('no such address') : ack()
  })
  const id = await bugle.put('emails', 'bad')
  const { error, ...event } = await failed.next()
  expect(event).toEqual({
    queue: 'emails',
    id,
    kind: null,
    attempt: 1,
    workerId: bugle.workerId,
    cause: 'rejected',
    runMs: expect.any(Number),
  })
  expect(error).toMatchObject({ name: 'BugleError', code: 'REJECTED', message: 'no such address' })
  const marker = await bugle.put('emails', 'good')
  await consumer.idle()
  expect(runs).toEqual([id, marker])
  expect(await db.jobs()).toMatchObject([
    {
      id,
      state: 'failed',
      attempt: 1,
      worker_id: null,
      last_error: { message: 'no such address', code: 'REJECTED', failedBy: 'rejected', attempt: 1 },
    },
  ])
})

test('A3 two queues: no cross-over, also where one name begins with the other', async ({ db }) => {
  const bugle = db.bugle()
  const seen = new Map<string, unknown[]>()
  const queues = ['emails', 'emails2', 'Emails']
  const consumers = await Promise.all(
    queues.map((queue) => {
      seen.set(queue, [])
      return bugle.consume(queue, (job) => void seen.get(queue)?.push([job.queue, job.payload]))
    }),
  )
  for (const n of [1, 2]) for (const queue of queues) await bugle.put(queue, `${queue} ${n}`)
  await bugle.put('nobody', 'stays')
  await Promise.all(consumers.map((consumer) => consumer.idle()))
  for (const queue of queues) {
    expect(seen.get(queue)).toEqual([
      [queue, `${queue} 1`],
      [queue, `${queue} 2`],
    ])
  }
  expect(await db.jobs()).toMatchObject([{ queue: 'nobody', state: 'ready', attempt: 0 }])
})

for (const [count, concurrency] of [
  [100, 10],
  [100_000, 100],
] as const) {
  const isRun = count <= 100 || Boolean(process.env.BUGLE_TEST_SLOW)
  test.runIf(isRun)(
    `A4 a backlog of ${count} jobs put before any consumer exists is drained at start`,
    {
      // It takes ten seconds on a quiet machine. The bench measures the speed.
      timeout: 180_000,
    },
    async ({ db }) => {
      await db.sql.unsafe(`
      insert into ${db.s}.job (queue, payload)
      select 'emails', to_jsonb(n) from generate_series(1, ${count}) as n`)
      const runs = new Uint8Array(count + 1)
      const consumer = await db.bugle().consume(
        'emails',
        (job) => {
          const n = job.payload as number
          runs[n] = (runs[n] ?? 0) + 1
        },
        { concurrency },
      )
      await consumer.idle()
      expect(runs.subarray(1).findIndex((times) => times !== 1)).toBe(-1)
      expect(await db.jobs()).toEqual([])
      expect(await consumer.stop()).toMatchObject({ completed: count, failed: 0 })
    },
  )
}

test('A7 stop and start does not run failed jobs again', async ({ db }) => {
  const bugle = db.bugle()
  const runs: unknown[] = []
  const start = () =>
    bugle.consume(
      'emails',
      (job) => {
        runs.push(job.payload)
        if (job.payload === 'throws') throw new Error('broken')
        return job.payload === 'rejected' ? reject('no') : undefined
      },
      { retryStrategy: false },
    )
  await bugle.putMany('emails', ['throws', 'rejected'])
  const first = await start()
  await first.idle()
  expect(await first.stop()).toMatchObject({ completed: 0, failed: 2 })
  const before = await db.jobs()
  // Again in the same instance, and in another one.
  for (const marker of ['same', 'other']) {
    const consumer = await (marker === 'same' ? start() : db.bugle().consume('emails', (job) => runs.push(job.payload)))
    await bugle.put('emails', marker)
    await consumer.idle()
    expect(await consumer.stop()).toMatchObject({ completed: 1, failed: 0 })
  }
  expect(runs.slice(0, 2).sort()).toEqual(['rejected', 'throws'])
  expect(runs.slice(2)).toEqual(['same', 'other'])
  expect(await db.jobs()).toEqual(before)
  expect(before.map(({ state, attempt }) => [state, attempt])).toEqual([
    ['failed', 1],
    ['failed', 1],
  ])
})

test("A8 with outcome: 'explicit' a return that is no outcome never acks", async ({ db }) => {
  const bugle = db.bugle()
  const acked = db.collect(bugle, 'job:acked')
  const returns: Record<string, unknown> = {
    nothing: undefined,
    null: null,
    true: true,
    text: 'ack',
    'the function itself': ack,
    'something that looks like an ack': { type: 'ack', result: undefined },
    'an ack in an array': [ack()],
    'what cannot be shown': {
      toString() {
        throw new Error('no')
      },
    },
  }
  const names = Object.keys(returns)
  await bugle.putMany('emails', [...names, 'an ack', 'a promise of an ack', 'an ack with a result'])
  const consumer = await bugle.consume(
    'emails',
    ({ payload }) => {
      if (payload === 'an ack') return ack()
      if (payload === 'an ack with a result') return ack({ sent: 1 })
      if (payload === 'a promise of an ack') return Promise.resolve(ack())
      return returns[payload as string]
    },
    { outcome: 'explicit' },
  )
  await consumer.idle()
  expect(acked.all).toHaveLength(3)
  const rows = await db.jobs()
  expect(rows.map(({ payload }) => payload)).toEqual(names)
  for (const row of rows) {
    expect(row).toMatchObject({
      state: 'failed',
      attempt: 1,
      last_error: { code: 'REJECTED', failedBy: 'rejected', message: expect.stringMatching(/^the handler returned /) },
    })
  }
})

test('A8 without it, whatever a handler returns is an ack, but for a reject', async ({ db }) => {
  const bugle = db.bugle()
  const returns = [undefined, null, 0, 'reject', { type: 'reject', reason: 'mine' }, Symbol('s'), 1n, () => {}]
  await bugle.putMany('emails', [...returns.keys(), returns.length])
  const consumer = await bugle.consume('emails', ({ payload }) =>
    payload === returns.length ? reject('this one') : returns[payload as number],
  )
  await consumer.idle()
  expect(await db.jobs()).toMatchObject([{ payload: returns.length, state: 'failed' }])
})

test('what a handler is given can be taken apart, inherited from and stood in front of', async ({ db }) => {
  const bugle = db.bugle()
  const aborted: unknown[] = []
  const consumer = await bugle.consume('q', async ({ id }, context) => {
    const { signal, ack, workerId } = context
    aborted.push(signal.aborted, Object.create(context).signal === signal, new Proxy(context, {}).signal === signal)
    expect({ ...context }.workerId).toBe(workerId)
    await db.sql.begin((tx) => ack(tx))
    return id
  })
  await bugle.put('q', 1)
  await consumer.idle()
  expect(aborted).toEqual([false, true, true])
  expect(await consumer.stop()).toMatchObject({ completed: 1, failed: 0 })
  expect(await db.jobs()).toEqual([])
})
