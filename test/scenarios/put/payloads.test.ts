import superjson, { type SuperJSONResult } from 'superjson'
import { expect } from 'vitest'
import * as z from 'zod'
import { ack, type Codec, partial } from '../../../src/index.js'
import { broken } from '../../support/broken.js'
import { signal, test } from '../../support/database.js'
import { refusal } from '../../support/refusal.js'
import { archivedRows, fullRows, hasten } from '../../support/rows.js'

/** Takes one thing and makes another of it: a date, a number, and what was left out. */
const letter = z.object({
  to: z.email(),
  at: z.coerce.date<string>(),
  copies: z.string().transform(Number),
  tone: z.string().default('kind'),
})
const goodLetter = { to: 'a@example.org', at: '2024-02-29T12:00:00.000Z', copies: '3' }
const badLetter = { ...goodLetter, to: 'nobody' }

test('D7 a payload that its schema refuses is VALIDATION_FAILED at put, and nothing is written', async ({ db }) => {
  const bugle = db.bugle({ schemas: { emails: letter } })
  const refused = await refusal(() => bugle.put('emails', badLetter))
  expect(refused).toMatchObject({ code: 'VALIDATION_FAILED', message: expect.stringMatching(/^payload\.to: /) })
  expect(refused.cause).toEqual([expect.objectContaining({ path: ['to'] })])
  expect(await refusal(() => bugle.putMany('emails', [goodLetter, badLetter]))).toMatchObject({
    code: 'VALIDATION_FAILED',
    message: expect.stringMatching(/^payloads\[1\]\.to: /),
  })
  // In a transaction nothing was sent, so it goes on.
  await db.sql.begin(async (tx) => {
    expect(await refusal(() => bugle.put('emails', badLetter, { tx }))).toMatchObject({ code: 'VALIDATION_FAILED' })
    await tx`select`
  })
  expect(await db.jobs()).toEqual([])
  await bugle.put('emails', goodLetter)
  // A queue without a schema takes anything.
  await bugle.put('other', badLetter)
  expect(await db.jobs()).toMatchObject([{ payload: goodLetter }, { queue: 'other', payload: badLetter }])
})

test('D7 a row put by SQL that its schema refuses fails without retries, and its handler is not called', async ({
  db,
}) => {
  const bugle = db.bugle({ schemas: { emails: letter } })
  const failed = db.collect(bugle, 'job:failed')
  const seen: unknown[] = []
  const asked: unknown[] = []
  await db.sql.unsafe(
    `insert into ${db.s}.job (queue, payload, max_attempts)
     values ('emails', $1::text::jsonb, 9), ('emails', 'null', 9)`,
    [JSON.stringify(badLetter)],
  )
  await bugle.put('emails', goodLetter)
  const consumer = await bugle.consume('emails', (job) => void seen.push(job.payload), {
    concurrency: 1,
    retryStrategy: (job) => {
      asked.push(job.id)
      return { maxAttempts: 6 }
    },
  })
  await consumer.idle()
  expect(seen).toHaveLength(1)
  expect(asked).toEqual([])
  const last_error = { code: 'VALIDATION_FAILED', failedBy: 'invalid', attempt: 1 }
  expect(await fullRows(db)).toMatchObject([
    { payload: badLetter, state: 'failed', attempt: 1, last_error },
    { payload: null, state: 'failed', attempt: 1, last_error },
  ])
  expect(failed.all).toMatchObject([
    {
      cause: 'invalid',
      attempt: 1,
      error: { code: 'VALIDATION_FAILED', message: expect.stringMatching(/payload\.to/) },
    },
    { cause: 'invalid', attempt: 1, error: { code: 'VALIDATION_FAILED' } },
  ])
})

test('D7 what the schema makes of a payload reaches the handler; what was put is stored', async ({ db }) => {
  const bugle = db.bugle({ schemas: { emails: letter } })
  const acked = db.collect(bugle, 'job:acked')
  hasten(db, bugle)
  const seen: unknown[] = []
  const second = signal()
  const looked = signal()
  await bugle.consume('emails', async ({ attempt, payload }) => {
    seen.push(payload)
    // On a second run it is made of what was put, and not of what was made before.
    if (attempt === 1) broken()
    second.resolve()
    await looked.promise
  })
  await bugle.put('emails', goodLetter)
  await second.promise
  expect(await db.jobs()).toMatchObject([{ payload: goodLetter }])
  looked.resolve()
  await acked.next()
  const made = { to: 'a@example.org', at: new Date('2024-02-29T12:00:00.000Z'), copies: 3, tone: 'kind' }
  expect(seen).toEqual([made, made])
})

test('D7 a schema for each kind: at put and before the handler', async ({ db }) => {
  const bugle = db.bugle({
    schemas: { media: { thumb: z.object({ file: z.string() }), probe: z.object({ url: z.url() }) } },
  })
  const url = 'https://example.org'
  const refusedPuts: [payload: unknown, kind: string | undefined][] = [
    [{ url }, 'thumb'],
    [{ url: 'no' }, 'probe'],
    [{ url }, 'crop'],
    [{ url }, undefined],
  ]
  for (const [payload, kind] of refusedPuts) {
    expect(await refusal(() => bugle.put('media', payload, kind === undefined ? {} : { kind }))).toMatchObject({
      code: 'VALIDATION_FAILED',
    })
  }
  expect(await db.jobs()).toEqual([])
  await bugle.put('media', { file: 'a.png' }, { kind: 'thumb' })
  // From elsewhere: of a kind and not fit for it; and of one that this version has no schema for, which is as it is.
  await db.sql.unsafe(`
    insert into ${db.s}.job (queue, kind, payload) values ('media', 'probe', '{"url": "no"}'), ('media', 'newer', '1')`)
  const seen: unknown[] = []
  const consumer = await bugle.consume('media', (job) => void seen.push([job.kind, job.payload]), { concurrency: 1 })
  await consumer.idle()
  expect(seen).toEqual([
    ['thumb', { file: 'a.png' }],
    ['newer', 1],
  ])
  expect(await fullRows(db)).toMatchObject([{ kind: 'probe', state: 'failed', last_error: { failedBy: 'invalid' } }])
})

test('D7 a schema that asks elsewhere first is waited for, at put and before the handler', async ({ db }) => {
  const free = new Set(['a@example.org'])
  const isFree = async (to: string) => {
    await db.sql`select`
    return free.has(to)
  }
  const bugle = db.bugle({ schemas: { emails: z.object({ to: z.string().refine(isFree, 'taken') }) } })
  expect((await refusal(() => bugle.put('emails', { to: 'b@example.org' }))).message).toBe('payload.to: taken')
  await bugle.putMany('emails', [{ to: 'a@example.org' }, { to: 'a@example.org' }])
  const failed = db.collect(bugle, 'job:failed')
  const consumer = await bugle.consume('emails', ({ payload }) => void free.delete((payload as { to: string }).to), {
    concurrency: 1,
  })
  await consumer.idle()
  // By the time of the second it was taken.
  expect(failed.all).toMatchObject([{ cause: 'invalid', error: { message: 'payload.to: taken' } }])
})

const codec: Codec = {
  encode: (value) => superjson.serialize(value),
  decode: (stored) => superjson.deserialize(stored as SuperJSONResult),
}
const rich = {
  at: new Date('2024-02-29T12:00:00.000Z'),
  by: new Map<string, unknown>([['x', new Set([1n, 2n])]]),
  tags: new Set(['a', 'b']),
  missing: undefined,
}

test('D7 with a codec dates, maps and sets come through put, handler, progress and the archived result', async ({
  db,
}) => {
  const bugle = db.bugle({ codec })
  const acked = db.collect(bugle, 'job:acked')
  hasten(db, bugle)
  const seen: unknown[] = []
  await bugle.consume(
    'emails',
    ({ payload, progress }) => {
      seen.push([payload, progress])
      return progress === null ? partial(new Map([['step', new Date(0)]])) : ack(rich)
    },
    { keep: 'all' },
  )
  const ids = [await bugle.put('emails', rich), ...(await bugle.putMany('emails', [new Date(1)]))]
  for (const _ of ids) await acked.next()
  const progress = new Map([['step', new Date(0)]])
  expect(seen).toHaveLength(4)
  for (const payload of [rich, new Date(1)]) {
    expect(seen).toContainEqual([payload, null])
    expect(seen).toContainEqual([payload, progress])
  }
  const stored = JSON.parse(JSON.stringify(superjson.serialize(rich)))
  expect(await archivedRows(db)).toMatchObject([{ payload: stored, result: stored }, { result: stored }])
  expect(await bugle.job(ids[0] ?? '')).toMatchObject({ payload: rich, progress, result: rich })
})

test('D7 with codec and schema: the schema sees what the codec made', async ({ db }) => {
  const bugle = db.bugle({ codec, schemas: { emails: z.object({ at: z.date().transform((at) => at.getTime()) }) } })
  const seen: unknown[] = []
  const consumer = await bugle.consume('emails', (job) => void seen.push(job.payload))
  expect(await refusal(() => bugle.put('emails', { at: 5 }))).toMatchObject({ code: 'VALIDATION_FAILED' })
  await bugle.put('emails', { at: new Date(5) })
  await consumer.idle()
  expect(seen).toEqual([{ at: 5 }])
})

test('D7 what the codec cannot decode fails its job with the cause invalid, and its handler is not called', async ({
  db,
}) => {
  const bugle = db.bugle({ codec })
  const failed = db.collect(bugle, 'job:failed')
  const seen: unknown[] = []
  await bugle.put('emails', 'good')
  // superjson reads fields of it, and null has none; and there is no such type.
  await db.sql.unsafe(`
    insert into ${db.s}.job (queue, payload, progress, max_attempts)
    values ('emails', 'null', null, 9), ('emails', '{"json": 1}', '{"json": 1, "meta": {"values": ["nope"]}}', 9)`)
  const consumer = await bugle.consume('emails', (job) => void seen.push(job.payload), { concurrency: 1 })
  await consumer.idle()
  expect(seen).toEqual(['good'])
  const last_error = { code: 'INVALID_PAYLOAD', failedBy: 'invalid', attempt: 1 }
  expect(await fullRows(db)).toMatchObject([
    { state: 'failed', attempt: 1, last_error },
    { state: 'failed', attempt: 1, last_error },
  ])
  expect(failed.all.map(({ cause, error }) => [cause, error.message])).toEqual([
    ['invalid', expect.stringMatching(/^payload: the codec cannot decode it: /)],
    ['invalid', expect.stringMatching(/^progress: the codec cannot decode it: /)],
  ])
})

test('D7 what the codec cannot encode is INVALID_PAYLOAD at put, and as result or progress the cause invalid', async ({
  db,
}) => {
  const picky: Codec = {
    encode: (value) => (value === 'unspeakable' ? broken() : { v: value }),
    decode: (stored) => (stored as { v: unknown }).v,
  }
  const bugle = db.bugle({ codec: picky })
  const failed = db.collect(bugle, 'job:failed')
  expect(await refusal(() => bugle.put('emails', 'unspeakable'))).toMatchObject({
    code: 'INVALID_PAYLOAD',
    message: 'payload: the codec cannot encode it: broken',
  })
  expect(await db.jobs()).toEqual([])
  const ends = [() => 'unspeakable', () => partial('unspeakable')]
  const consumer = await bugle.consume('emails', ({ payload }) => ends[payload as number]?.(), {
    concurrency: 1,
    keep: 'all',
  })
  await bugle.putMany('emails', [0, 1], { maxAttempts: 9 })
  await consumer.idle()
  expect(failed.all.map(({ cause, error }) => [cause, error.message])).toEqual([
    ['invalid', 'result: the codec cannot encode it: broken'],
    ['invalid', 'progress: the codec cannot encode it: broken'],
  ])
})
