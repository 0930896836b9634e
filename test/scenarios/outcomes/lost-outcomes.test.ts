import { expect } from 'vitest'
import { ack, type Outcome, partial, reject, release, retry } from '../../../src/index.js'
import { test } from '../../support/gates.js'
import { fullRows } from '../../support/rows.js'
import { fence } from '../../support/stopping.js'
import { until } from '../../support/until.js'

const thrownOutcomes: Record<string, { outcome: () => Outcome; rows: readonly object[] }> = {
  ack: { outcome: () => ack(), rows: [] },
  reject: {
    outcome: () => reject('no'),
    rows: [{ state: 'failed', attempt: 1, last_error: { code: 'REJECTED', message: 'no' } }],
  },
  retry: {
    outcome: () => retry({ delayMs: 60_000, reason: 'busy' }),
    rows: [{ state: 'scheduled', attempt: 1, last_error: { message: 'busy' } }],
  },
  release: { outcome: () => release({ delayMs: 60_000 }), rows: [{ state: 'scheduled', attempt: 0 }] },
  partial: {
    outcome: () => partial(2, { delayMs: 60_000 }),
    rows: [{ state: 'scheduled', attempt: 1, progress: 2 }],
  },
}
for (const [name, { outcome, rows }] of Object.entries(thrownOutcomes)) {
  test(`a ${name} that is thrown counts as if it were returned, by handlers and by middleware`, async ({ db }) => {
    const bugle = db.bugle()
    const throwing = (): never => {
      throw outcome()
    }
    const consumers = [
      await bugle.consume('at once', throwing, { outcome: 'explicit' }),
      await bugle.consume('later', async () => throwing()),
      await bugle.consume('middleware', () => {}, { middleware: [throwing] }),
    ]
    for (const { queue } of consumers) await bugle.put(queue, 1)
    for (const consumer of consumers) await consumer.idle()
    expect(await fullRows(db)).toMatchObject(consumers.flatMap(() => rows))
  })
}

test('an outcome that is made and not returned: its job is acked, and the mistake reported', async ({ db }) => {
  const bugle = db.bugle()
  const told = db.collect(bugle, 'callback:error')
  const consumer = await bugle.consume('q', ({ payload }) => {
    if (payload === 'at once') reject('no such user')
    if (payload !== 'later') return undefined
    return new Promise<void>((resolve) => {
      setImmediate(() => {
        retry()
        resolve()
      })
    })
  })
  await bugle.put('q', 'fine')
  const ids = [await bugle.put('q', 'at once')]
  await consumer.idle()
  expect(told.all).toHaveLength(1)
  // Handlers that other tests have abandoned count until they are stuck: then none is known to run beside this one.
  await until(async () => {
    ids[1] = await bugle.put('q', 'later')
    await consumer.idle()
    return told.all.length > 1
  })
  for (const [index, { error, ...rest }] of told.all.entries()) {
    expect(rest).toEqual({ queue: 'q', where: 'handler' })
    expect(error).toMatchObject({ code: 'OUTCOME_LOST' })
    expect(error.message).toMatch(
      new RegExp(`^job ${ids[index]} is acked, but its handler made an outcome and returned nothing`),
    )
  }
  expect(await db.jobs()).toEqual([])
})

test('an outcome that is made and returned later, beside a run that returns nothing, is no mistake', async ({
  db,
  gate,
}) => {
  const bugle = db.bugle()
  const told = db.collect(bugle, 'callback:error')
  const end = gate()
  const made = gate()
  const consumer = await bugle.consume('q', async ({ payload }) => {
    if (payload === 'nothing') return made.promise
    const outcome = reject('no')
    made.resolve()
    await end.promise
    return outcome
  })
  const acked = db.collect(bugle, 'job:acked')
  await bugle.put('q', 'nothing')
  await bugle.put('q', 'an outcome')
  await acked.next()
  end.resolve()
  await consumer.idle()
  await fence(db)
  expect(told.all).toEqual([])
  expect(await db.jobs()).toMatchObject([{ payload: 'an outcome', state: 'failed' }])
})

const likenesses: Record<string, () => unknown> = {
  'a reject that went through JSON': () => JSON.parse(JSON.stringify(reject('no'))),
  'a retry that went through JSON': () => JSON.parse(JSON.stringify(retry())),
  'a release that was cloned': () => structuredClone(release()),
  'a partial that was cloned': () => structuredClone(partial({ step: 1 })),
}
const results: Record<string, () => unknown> = {
  'an ack that went through JSON': () => JSON.parse(JSON.stringify(ack(1))),
  'a type of its own': () => ({ type: 'message', reason: 'no' }),
  'one more property': () => ({ type: 'reject', reason: 'no', id: 1 }),
  'a release without its delay': () => ({ type: 'release' }),
  'a likeness that is given as a result': () => ack({ type: 'reject', reason: 'no' }),
  'a copy with its mark': () => ({ ...ack(2) }),
  'what cannot be read': () => {
    const { proxy, revoke } = Proxy.revocable({}, {})
    const holder = {
      get type() {
        return proxy
      },
    }
    revoke()
    return holder
  },
}

test('what looks like an outcome and is none is an ack, as it always was, and reported', async ({ db }) => {
  const bugle = db.bugle()
  const told = db.collect(bugle, 'callback:error')
  const returns = { ...likenesses, ...results }
  const consumer = await bugle.consume('q', ({ payload }) => returns[payload as string]?.())
  const ids = await bugle.putMany('q', Object.keys(returns))
  await consumer.idle()
  expect(await db.jobs()).toEqual([])
  expect(
    told.all.map(({ error }) => error.message.split(' is acked, but its handler returned an object that ')[0]),
  ).toEqual(ids.slice(0, Object.keys(likenesses).length).map((id) => `job ${id}`))
  for (const { error, where } of told.all) expect([where, error]).toMatchObject(['handler', { code: 'OUTCOME_LOST' }])
})
