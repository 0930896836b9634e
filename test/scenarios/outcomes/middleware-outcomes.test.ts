import { expect } from 'vitest'
import { ack, type Outcome, partial, reject, release, retry } from '../../../src/index.js'
import { broken } from '../../support/broken.js'
import { test } from '../../support/gates.js'
import { archivedRows, fullRows } from '../../support/rows.js'

const thrown = new Error('broken')

/** What a handler does, and what next() resolves with for it. */
const handlerEnds: Record<string, [end: () => unknown, outcome: Outcome | { type: string }]> = {
  nothing: [() => undefined, { type: 'ack', result: undefined }],
  'a value': [() => 5, { type: 'ack', result: 5 }],
  'ack()': [() => ack('done'), { type: 'ack', result: 'done' }],
  'reject()': [() => reject('no'), { type: 'reject', reason: 'no' }],
  'retry()': [() => retry({ delayMs: 60_000, reason: 'busy' }), { type: 'retry', delayMs: 60_000, reason: 'busy' }],
  'release()': [() => release({ delayMs: 60_000 }), { type: 'release', delayMs: 60_000 }],
  'partial()': [() => partial(1, { delayMs: 60_000 }), { type: 'partial', progress: 1, delayMs: 60_000 }],
  'a throw': [
    () => {
      throw thrown
    },
    { type: 'error', error: thrown },
  ],
  'a rejection with a text': [() => Promise.reject('text'), { type: 'error', error: 'text' }],
  'the throw of an ack': [
    () => {
      throw ack('done')
    },
    { type: 'ack', result: 'done' },
  ],
}

test('middleware: next() resolves with the outcome, whatever the handler does', async ({ db }) => {
  const outcomes = new Map<unknown, unknown>()
  const bugle = db.bugle({
    middleware: [
      async (job, _, next) => {
        outcomes.set(job.payload, await next())
      },
    ],
  })
  const names = Object.keys(handlerEnds)
  const consumer = await bugle.consume('q', ({ payload }) => handlerEnds[payload as string]?.[0](), {
    retryStrategy: false,
  })
  await bugle.putMany('q', names)
  await consumer.idle()
  for (const name of names) expect(outcomes.get(name), name).toMatchObject(handlerEnds[name]?.[1] ?? {})
  expect(outcomes.size).toBe(names.length)
  const explicit = await bugle.consume('explicit', () => 'done', { outcome: 'explicit' })
  await bugle.put('explicit', 'explicit')
  await explicit.idle()
  expect(outcomes.get('explicit')).toMatchObject({ type: 'reject', reason: { code: 'REJECTED' } })
})

test('middleware: an outcome that it returns takes the place of the inner one', async ({ db }) => {
  class Limited extends Error {}
  const bugle = db.bugle({
    middleware: [
      async (_, __, next) => {
        const outcome = await next()
        // The outermost has the last word, and sees what the inner one made of it.
        return outcome.type === 'reject' && outcome.reason === 'twice' ? ack('in the end') : outcome
      },
    ],
  })
  const consumer = await bugle.consume(
    'q',
    ({ payload }) => {
      if (payload === 'limited') throw new Limited('slow down')
      if (payload === 'broken') broken()
      if (payload === 'done') return { rows: 3 }
      if (payload === 'gone') return reject('gone')
      return 'two'
    },
    {
      keep: 'all',
      retryStrategy: false,
      middleware: [
        async ({ payload }, _, next) => {
          const outcome = await next()
          if (outcome.type === 'error' && outcome.error instanceof Limited) return release({ delayMs: 60_000 })
          if (outcome.type === 'reject') return ack('never mind')
          if (payload === 'two') return reject('twice')
          if (outcome.type === 'ack') return ack({ kept: outcome.result })
        },
      ],
    },
  )
  await bugle.putMany('q', ['limited', 'broken', 'done', 'gone', 'two'])
  await consumer.idle()
  expect((await archivedRows(db)).map(({ payload, result }) => [payload, result])).toEqual([
    ['done', { kept: { rows: 3 } }],
    ['gone', 'never mind'],
    ['two', 'in the end'],
  ])
  expect((await fullRows(db)).map(({ payload, state, attempt }) => [payload, state, attempt])).toEqual([
    ['limited', 'scheduled', 0],
    ['broken', 'failed', 1],
  ])
})

test('middleware: one that returns an outcome without next() goes before the handler, and all that is inside', async ({
  db,
}) => {
  const ran: unknown[] = []
  const outcomes: Record<string, () => Outcome> = {
    ack: () => ack('from outside'),
    reject: () => reject('closed today'),
    retry: () => retry({ delayMs: 60_000, reason: 'not yet' }),
    release: () => release({ delayMs: 60_000 }),
    partial: () => partial(2, { delayMs: 60_000 }),
  }
  const bugle = db.bugle({ middleware: [({ payload }, _, next) => outcomes[payload as string]?.() ?? next()] })
  const consumer = await bugle.consume('q', ({ payload }) => ran.push(payload), {
    keep: 'all',
    middleware: [
      (_, __, next) => {
        ran.push('inside')
        return next()
      },
    ],
  })
  await bugle.putMany('q', [...Object.keys(outcomes), 'through'])
  await consumer.idle()
  expect(ran).toEqual(['inside', 'through'])
  expect(await archivedRows(db)).toMatchObject([{ payload: 'ack', result: 'from outside' }, { payload: 'through' }])
  expect(await fullRows(db)).toMatchObject([
    { payload: 'reject', state: 'failed', last_error: { message: 'closed today', failedBy: 'rejected' } },
    { payload: 'retry', state: 'scheduled', attempt: 1, last_error: { message: 'not yet' } },
    { payload: 'release', state: 'scheduled', attempt: 0 },
    { payload: 'partial', state: 'scheduled', attempt: 1, progress: 2 },
  ])
})

/** Values that a middleware may return and that are no outcome. */
const noOutcomes: Record<string, () => unknown> = {
  nothing: () => undefined,
  null: () => null,
  true: () => true,
  'a text': () => 'ack',
  'what looks like an ack': () => ({ type: 'ack', result: 1 }),
  'the function ack': () => ack,
  'an ack in an array': () => [ack()],
}

test('middleware: whatever else it returns, the inner outcome stands, also a failure', async ({ db }) => {
  const bugle = db.bugle({
    middleware: [
      async (job, _, next) => {
        await next()
        return noOutcomes[(job.payload as { returns: string }).returns]?.()
      },
    ],
  })
  const ends: Record<string, () => unknown> = { acks: () => 'done', throws: broken, rejects: () => reject('no') }
  const consumer = await bugle.consume('q', (job) => ends[(job.payload as { ends: string }).ends]?.(), {
    keep: 'all',
    retryStrategy: false,
  })
  const jobs = Object.keys(noOutcomes).flatMap((returns) => Object.keys(ends).map((end) => ({ returns, ends: end })))
  await bugle.putMany('q', jobs)
  await consumer.idle()
  const archived = await archivedRows(db)
  expect(archived.map(({ payload }) => payload)).toEqual(jobs.filter((job) => job.ends === 'acks'))
  expect(archived.map(({ result }) => result)).toEqual(Object.keys(noOutcomes).map(() => 'done'))
  expect((await fullRows(db)).map(({ payload, last_error }) => [payload, last_error?.failedBy])).toEqual(
    jobs.filter((job) => job.ends !== 'acks').map((job) => [job, job.ends === 'throws' ? 'exhausted' : 'rejected']),
  )
})
