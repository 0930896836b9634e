import { expect } from 'vitest'
import { ack, type Middleware, reject, retry } from '../../../src/index.js'
import { signal, test } from '../../support/database.js'
import { refusal } from '../../support/refusal.js'

// Whatever a callback does, the process lives: vitest fails a run in which a rejection is not handled.

/** Reasons that throw at whoever looks at them. */
const hostileReasons: Record<string, () => unknown> = {
  'a revoked proxy': () => {
    const { proxy, revoke } = Proxy.revocable({}, {})
    revoke()
    return proxy
  },
  'an error whose message cannot be read twice': () => {
    let reads = 0
    return Object.defineProperty(new Error(), 'message', {
      get: () => {
        reads += 1
        if (reads > 1) throw new Error('a trap')
        return 'once'
      },
    })
  },
  'an object that throws at inspection': () => ({
    [Symbol.for('nodejs.util.inspect.custom')]: () => {
      throw new Error('a trap')
    },
  }),
}

for (const [what, reason] of Object.entries(hostileReasons)) {
  test(`callbacks: ${what} as a reason fails the job, and the slot lives`, async ({ db }) => {
    const bugle = db.bugle()
    const endings = { retry: () => retry({ reason: reason() }), reject: () => reject(reason()) }
    const consumer = await bugle.consume('emails', ({ payload }) => endings[payload as keyof typeof endings]?.(), {
      concurrency: 1,
      retryStrategy: (() => 'nonsense') as never,
    })
    await bugle.putMany('emails', ['retry', 'reject', 'good'])
    await consumer.idle()
    expect(await db.jobs()).toMatchObject([
      { payload: 'retry', state: 'failed' },
      { payload: 'reject', state: 'failed' },
    ])
    expect(await consumer.stop()).toMatchObject({ completed: 1, failed: 2 })
  })
}

test('callbacks: a reason that is no error is stored with what is in it', async ({ db }) => {
  const bugle = db.bugle()
  const consumer = await bugle.consume('emails', ({ payload }) => reject(payload))
  await bugle.putMany('emails', [{ code: 'bad', field: 'to' }, ['a', 1], null, 5])
  await consumer.idle()
  expect((await db.jobs()).map(({ last_error }) => last_error?.message)).toEqual([
    "{ code: 'bad', field: 'to' }",
    "[ 'a', 1 ]",
    'null',
    '5',
  ])
})

const carelessMiddleware: Record<string, Middleware> = {
  'calls next() again without waiting': (_job, _ctx, next) => {
    void next()
    void next()
  },
  'calls next() after its end': (_job, _ctx, next) => {
    setImmediate(next)
    return ack('without the handler')
  },
}
for (const [what, careless] of Object.entries(carelessMiddleware)) {
  test(`callbacks: a middleware that ${what} hurts nothing`, async ({ db }) => {
    const bugle = db.bugle({ middleware: [careless] })
    let runs = 0
    const consumer = await bugle.consume('emails', () => {
      runs += 1
    })
    await bugle.putMany('emails', [1, 2])
    await consumer.idle()
    await new Promise((resolve) => setImmediate(resolve))
    expect(runs).toBe(what.includes('again') ? 2 : 0)
    expect(await db.jobs()).toEqual([])
  })
}

test('callbacks: a codec that answers with promises is refused at put, and fails the job before its handler', async ({
  db,
}) => {
  const later = async (value: unknown): Promise<unknown> => {
    if (value === 'broken') throw new Error('too late')
    return value
  }
  const now = (value: unknown): unknown => value
  const putting = db.bugle({ codec: { encode: later, decode: now } })
  for (const payload of ['fine', 'broken']) {
    expect(await refusal(() => putting.put('emails', payload))).toMatchObject({
      code: 'INVALID_PAYLOAD',
      message: expect.stringContaining('codec.encode must be synchronous'),
    })
  }
  const consuming = db.bugle({ codec: { encode: now, decode: later } })
  const failed = db.collect(consuming, 'job:failed')
  await consuming.putMany('emails', ['fine', 'broken'])
  const consumer = await consuming.consume('emails', () => expect.unreachable())
  await consumer.idle()
  expect(failed.all).toMatchObject([{ cause: 'invalid' }, { cause: 'invalid' }])
  // Listing shows what is stored.
  expect((await consuming.jobs()).jobs.map(({ payload }) => payload)).toEqual(['broken', 'fine'])
})

test('callbacks: putMany with an asynchronous function for options is refused, and nothing is written', async ({
  db,
}) => {
  const bugle = db.bugle()
  const late = async (): Promise<never> => {
    throw new Error('too late')
  }
  expect(await refusal(() => bugle.putMany('emails', [1], late as never))).toMatchObject({
    code: 'INVALID_OPTION',
    message: expect.stringContaining('must be synchronous'),
  })
  expect(await refusal(() => bugle.putMany('emails', [1, 2], () => ({ priority: 1e9 })))).toMatchObject({
    code: 'INVALID_OPTION',
    message: expect.stringMatching(/^putMany: options of job 0: priority must be/),
  })
  expect(await db.jobs()).toEqual([])
})

test('callbacks: onFailed is waited for, in the slot of its job', async ({ db }) => {
  const bugle = db.bugle()
  const told = signal()
  const end = signal()
  const consumer = await bugle.consume('emails', () => reject('no'), {
    onFailed: () => {
      told.resolve()
      return end.promise
    },
  })
  await bugle.put('emails', 1)
  await told.promise
  expect(await db.jobs()).toMatchObject([{ state: 'failed' }])
  expect(consumer.activeJobs).toBe(1)
  end.resolve()
  await consumer.idle()
  expect(consumer.activeJobs).toBe(0)
})

test('callbacks: a copy of an outcome is that outcome, and an object that looks like one is a result', async ({
  db,
}) => {
  const bugle = db.bugle()
  const consumer = await bugle.consume('emails', ({ payload }) =>
    payload === 'copy' ? { ...reject('no') } : { type: 'reject', reason: 'no' },
  )
  await bugle.putMany('emails', ['copy', 'likeness'])
  await consumer.idle()
  expect(await db.jobs()).toMatchObject([{ payload: 'copy', state: 'failed' }])
})

test('callbacks: lists with holes are refused', async ({ db }) => {
  const bugle = db.bugle()
  // biome-ignore lint/suspicious/noSparseArray: what is shown
  const holey: never[] = [, 'x'] as never
  const refused = { code: 'INVALID_OPTION', message: expect.stringContaining('[0]') }
  expect(await refusal(() => bugle.consume('emails', () => {}, { withoutFlags: holey }))).toMatchObject(refused)
  expect(await refusal(() => bugle.consume('emails', () => {}, { middleware: holey }))).toMatchObject(refused)
  expect(await refusal(() => bugle.put('emails', 1, { flags: holey }))).toMatchObject(refused)
  expect(await refusal(() => bugle.requeue({ queue: undefined } as never))).toMatchObject({ code: 'INVALID_OPTION' })
  expect(await refusal(() => bugle.requeue(17 as never))).toMatchObject({
    message: expect.stringMatching(/^requeue takes an id/),
  })
  expect(await refusal(() => bugle.put('emails', 1, { tx: async () => [] }))).toMatchObject({ code: 'INVALID_OPTION' })
  expect(await refusal(async () => bugle.on('job:acked', undefined as never))).toMatchObject({ code: 'INVALID_OPTION' })
})

test('callbacks: many jobs without a key before as many with one are put in one go', async ({ db }) => {
  const bugle = db.bugle()
  const ids = await bugle.putMany(
    'emails',
    Array.from({ length: 20_000 }, (_, n) => n),
    (n) => (Number(n) < 10_000 ? undefined : { key: String(n) }),
  )
  expect(new Set(ids).size).toBe(20_000)
})
