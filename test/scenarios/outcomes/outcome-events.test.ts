import { expect } from 'vitest'
import * as z from 'zod'
import { type BugleError, partial, reject, release } from '../../../src/index.js'
import { broken } from '../../support/broken.js'
import { test } from '../../support/database.js'

test('H4 job:retrying, job:partial, job:released, job:failed and callback:error have the documented data', async ({
  db,
}) => {
  const schemas = { emails: z.unknown().refine((payload) => payload !== 'invalid') }
  const bugle = db.bugle({ schemas })
  const names = ['job:started', 'job:retrying', 'job:partial', 'job:released', 'job:failed', 'job:acked'] as const
  const events: Record<string, unknown> = {}
  for (const name of names) {
    bugle.on(name, (data) => {
      events[`${name} ${data.id}`] = data
    })
  }
  const callbackErrors = db.collect(bugle, 'callback:error')
  bugle.on('job:released', broken)
  const consumer = await bugle.consume(
    'emails',
    {
      letter: async ({ id, payload }) => {
        if (payload === 'retrying') throw new Error('busy')
        if (payload === 'partial') return partial(1)
        if (payload === 'released') return release()
        if (payload === 'rejected') return reject('no')
        if (payload === 'exhausted') throw new Error('broken')
        if (payload === 'no strategy') throw new Error('broken')
        if (payload === 'cancelled') {
          await db.sql.unsafe(`select ${db.s}.cancel($1)`, [id])
          return partial(1)
        }
      },
    },
    {
      unknownKinds: 'fail',
      retryStrategy: ({ payload }) =>
        payload === 'no strategy' ? broken() : { maxAttempts: payload === 'retrying' ? 4 : 1, delaysMs: 5_000 },
      onFailed: ({ payload }) => {
        if (payload === 'exhausted') broken()
      },
    },
  )
  const waiting = ['retrying', 'partial', 'released']
  const failing = ['rejected', 'exhausted', 'no strategy', 'cancelled', 'invalid', 'no-handler']
  const ids = new Map<string, string>()
  const [invalid] = await db.sql.unsafe<{ id: string }[]>(
    `insert into ${db.s}.job (queue, kind, payload) values ('emails', 'letter', '"invalid"') returning id`,
  )
  ids.set('invalid', invalid?.id ?? '')
  for (const payload of [...waiting, ...failing, 'acked']) {
    if (payload === 'invalid') continue
    ids.set(payload, await bugle.put('emails', payload, { kind: payload === 'no-handler' ? 'parcel' : 'letter' }))
  }
  await consumer.idle()
  const about = (payload: string) => ({
    queue: 'emails',
    id: ids.get(payload),
    kind: payload === 'no-handler' ? 'parcel' : 'letter',
    attempt: 1,
    workerId: bugle.workerId,
  })
  const event = (name: string, payload: string): unknown => events[`${name} ${ids.get(payload)}`]
  const runAt = new Map((await runTimes()).map(({ id, at }) => [id, new Date(at)]))
  const error = expect.any(Error)
  expect(event('job:retrying', 'retrying')).toStrictEqual({
    ...about('retrying'),
    error,
    retryAt: runAt.get(ids.get('retrying') ?? ''),
    retriesLeft: 2,
    runMs: expect.any(Number),
  })
  expect(event('job:partial', 'partial')).toStrictEqual({
    ...about('partial'),
    runAt: runAt.get(ids.get('partial') ?? ''),
  })
  expect(event('job:released', 'released')).toStrictEqual(about('released'))
  expect(event('job:acked', 'acked')).toStrictEqual({ ...about('acked'), runMs: expect.any(Number) })
  const causes = ['rejected', 'exhausted', 'exhausted', 'cancelled', 'invalid', 'no-handler']
  const codes = ['REJECTED', undefined, undefined, 'CANCELLED', 'VALIDATION_FAILED', 'NO_HANDLER']
  for (const [index, payload] of failing.entries()) {
    const data = event('job:failed', payload)
    expect(data, payload).toStrictEqual({ ...about(payload), error, cause: causes[index], runMs: expect.any(Number) })
    expect((data as { error: BugleError }).error.code, payload).toBe(codes[index])
  }
  // One event for each end, and nothing else.
  expect(Object.keys(events).filter((key) => !key.startsWith('job:started'))).toHaveLength(10)
  expect(Object.keys(events).filter((key) => key.startsWith('job:started'))).toHaveLength(10)
  expect(callbackErrors.all.toSorted((a, b) => a.where.localeCompare(b.where))).toStrictEqual([
    { queue: null, where: 'listener', error },
    { queue: 'emails', where: 'onFailed', error },
    { queue: 'emails', where: 'retryStrategy', error },
  ])

  function runTimes(): Promise<{ id: string; at: number }[]> {
    return db.sql.unsafe<{ id: string; at: number }[]>(
      `select id, (extract(epoch from run_at) * 1000)::float8 as at from ${db.s}.job`,
    )
  }
})
