import { expect } from 'vitest'
import { ack, BugleError, reject } from '../../../src/index.js'
import { test } from '../../support/database.js'
import { hostile, refusing } from '../../support/hostile.js'

/** What a handler may throw, and the message that is stored of it (where one is promised). */
const thrown: Record<string, { value: () => unknown; message?: string | RegExp }> = {
  'an Error': { value: () => new Error('broken'), message: 'broken' },
  'an error of another class': { value: () => new TypeError('not a function'), message: 'not a function' },
  'a string': { value: () => 'just text', message: 'just text' },
  'an empty string': { value: () => '' },
  undefined: { value: () => undefined, message: /undefined/ },
  null: { value: () => null, message: /null/ },
  'a number': { value: () => 42, message: /42/ },
  'a BigInt': { value: () => 1n, message: /1/ },
  'a symbol': { value: () => Symbol('s'), message: /Symbol\(s\)/ },
  'a function': { value: () => refusing },
  'an object': { value: () => ({ message: 'not an error' }) },
  'an object without a prototype': { value: () => Object.create(null) },
  'a frozen error': { value: () => Object.freeze(new Error('frozen')), message: 'frozen' },
  'an error whose message is no string': { value: () => Object.assign(new Error(), { message: 7n }) },
  'an error that is its own cause': {
    value: () => {
      const error = new Error('circle')
      error.cause = error
      return error
    },
    message: 'circle',
  },
  'an aggregate of errors': { value: () => new AggregateError([new Error('a'), 'b'], 'several'), message: 'several' },
  'an error with NUL and a lone surrogate': {
    value: () => new Error('a\0b\ud800c'),
    message: 'a\uFFFDb\uFFFDc',
  },
}

const ways: Record<string, (value: unknown) => unknown> = {
  'throws synchronously': (value) => {
    throw value
  },
  rejects: (value) => Promise.reject(value),
  'answers with a proxy that rejects, and has no answer to `in`': (value) =>
    new Proxy(
      {},
      {
        get: (_, name) =>
          name === 'then' ? (_: unknown, refuse: (reason: unknown) => void) => refuse(value) : undefined,
      },
    ),
  'answers with a promise that rejects, and has a `then` of its own': (value) =>
    Object.assign(Promise.reject(value), {
      // biome-ignore lint/suspicious/noThenProperty: `await` does not ask for it
      then: () => undefined,
    }),
  'answers with a thenable that rejects': (value) => ({
    // biome-ignore lint/suspicious/noThenProperty: a thenable is what is shown
    then: (_: unknown, refuse: (reason: unknown) => void) => refuse(value),
  }),
}

for (const [way, fail] of Object.entries(ways)) {
  test(`D1 a handler that ${way} with anything at all: the slot lives, the failure is stored`, async ({ db }) => {
    const bugle = db.bugle()
    const events = db.collect(bugle, 'job:failed')
    const names = Object.keys(thrown)
    const order: unknown[] = []
    const consumer = await bugle.consume(
      'emails',
      ({ payload }) => {
        order.push(payload)
        return payload === 'good' ? undefined : fail(thrown[payload as string]?.value())
      },
      { concurrency: 1, retryStrategy: false },
    )
    // After each bad job one that is good, in the only slot.
    const jobs = names.flatMap((name) => [name, 'good'])
    await bugle.putMany('emails', jobs)
    await consumer.idle()
    // In whichever order: on a busy machine jobs that were held for too long go back, and others overtake them.
    expect(order.toSorted()).toEqual(jobs.toSorted())
    const rows = await db.jobs()
    expect(rows.map(({ payload }) => payload)).toEqual(names)
    expect(events.all).toHaveLength(names.length)
    for (const { payload, last_error, ...row } of rows) {
      const name = payload as string
      expect(row, name).toMatchObject({ state: 'failed', attempt: 1, worker_id: null })
      expect(last_error, name).toMatchObject({ failedBy: 'exhausted', attempt: 1, message: expect.any(String) })
      const { message } = thrown[name] ?? {}
      if (message instanceof RegExp) expect(last_error?.message, name).toMatch(message)
      else if (message !== undefined) expect(last_error?.message, name).toBe(message)
      const event = events.all.find(({ id }) => id === row.id)
      expect(event, name).toMatchObject({ attempt: 1, cause: 'exhausted', error: expect.any(Error) })
    }
    expect(await consumer.stop()).toMatchObject({ completed: names.length, failed: names.length })
  })

  for (const [what, value] of Object.entries(hostile)) {
    test(`D1 a handler that ${way} with ${what}: the slot lives, the failure is stored`, async ({ db }) => {
      const bugle = db.bugle()
      const failed = db.collect(bugle, 'job:failed')
      const acked = db.collect(bugle, 'job:acked')
      const [id, next] = await bugle.putMany('emails', ['bad', 'good'])
      await bugle.consume('emails', (job) => (job.payload === 'bad' ? fail(value()) : undefined), {
        concurrency: 1,
        retryStrategy: false,
      })
      expect((await acked.next()).id).toBe(next)
      expect(await db.jobs()).toMatchObject([
        { id, state: 'failed', attempt: 1, last_error: { failedBy: 'exhausted', attempt: 1 } },
      ])
      expect(failed.all).toMatchObject([{ id, attempt: 1, cause: 'exhausted' }])
      expect(failed.all[0]?.error).toBeInstanceOf(Error)
    })
  }
}

const reasons: Record<string, () => unknown> = {
  undefined: () => undefined,
  null: () => null,
  'an object that JSON cannot hold': () => ({ n: 1n }),
  'a text with NUL and a lone surrogate': () => 'a\0b\ud800c',
  'an error': () => new Error('broken'),
  ...hostile,
}

for (const [what, value] of Object.entries(reasons)) {
  test(`D1 a handler that rejects its job because of ${what}: the slot lives, the reject is stored`, async ({ db }) => {
    const bugle = db.bugle()
    const failed = db.collect(bugle, 'job:failed')
    const acked = db.collect(bugle, 'job:acked')
    await bugle.putMany('emails', ['bad', 'good'])
    await bugle.consume('emails', (job) => (job.payload === 'bad' ? reject(value()) : undefined), {
      concurrency: 1,
      retryStrategy: false,
    })
    await acked.next()
    expect(failed.all).toMatchObject([{ cause: 'rejected', error: { code: 'REJECTED' } }])
    expect(await db.jobs()).toMatchObject([
      { state: 'failed', last_error: { failedBy: 'rejected', code: 'REJECTED', attempt: 1 } },
    ])
  })
}

test('D1 a result that JSON could not hold is an ack all the same while no result is kept', async ({ db }) => {
  const bugle = db.bugle()
  await bugle.putMany('emails', Object.keys(hostile))
  // A promise that resolves with an object looks at its `then`: one that throws there is a failure of its own.
  const consumer = await bugle.consume('emails', ({ payload }) => ack(hostile[payload as string]?.()))
  await consumer.idle()
  expect(await db.jobs()).toEqual([])
})

test('D6 message, stack, code, cause and attempt of the error are stored and told', async ({ db }) => {
  const bugle = db.bugle()
  const failed = db.collect(bugle, 'job:failed')
  const root = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
  const error = new TypeError('could not send', { cause: root })
  const consumer = await bugle.consume('emails', () => Promise.reject(error), { retryStrategy: false })
  const id = await bugle.put('emails', null)
  expect(await failed.next()).toEqual({
    queue: 'emails',
    id,
    kind: null,
    attempt: 1,
    workerId: bugle.workerId,
    cause: 'exhausted',
    error,
    runMs: expect.any(Number),
  })
  await consumer.idle()
  const [row] = await db.jobs()
  expect(row).toMatchObject({ state: 'failed', attempt: 1 })
  expect(row?.last_error).toEqual({
    name: 'TypeError',
    message: 'could not send',
    stack: error.stack?.slice(0, 4_000),
    cause: { name: 'Error', message: 'connect ECONNREFUSED', code: 'ECONNREFUSED', stack: root.stack?.slice(0, 4_000) },
    failedBy: 'exhausted',
    attempt: 1,
  })
  const [times] = await db.sql.unsafe(
    `select finished_at between claimed_at and clock_timestamp() as finished from ${db.s}.job`,
  )
  expect(times).toEqual({ finished: true })
})

test('D6 a message and a stack of megabytes are stored cut', async ({ db }) => {
  const bugle = db.bugle()
  const consumer = await bugle.consume('emails', () => Promise.reject(new Error('€'.repeat(2_000_000))), {
    retryStrategy: false,
  })
  await bugle.put('emails', null)
  await consumer.idle()
  const [row] = await db.jobs()
  expect(row?.last_error?.message).toBe('€'.repeat(2_000))
})

test('D1 an error of ours that a handler throws keeps its code', async ({ db }) => {
  const bugle = db.bugle()
  const put = async (): Promise<void> => void (await bugle.put('', null))
  const consumer = await bugle.consume('emails', put, { retryStrategy: false })
  const failed = db.collect(bugle, 'job:failed')
  await bugle.put('emails', null)
  await consumer.idle()
  expect(failed.all[0]?.error).toBeInstanceOf(BugleError)
  expect(await db.jobs()).toMatchObject([{ last_error: { name: 'BugleError', code: 'INVALID_QUEUE' } }])
})
