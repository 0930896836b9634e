import { expect } from 'vitest'
import { ack, type Job, partial, reject, release, retry } from '../../../src/index.js'
import { broken } from '../../support/broken.js'
import { signal, test } from '../../support/database.js'
import { archivedRows, fullRows, hasten, makeDue } from '../../support/rows.js'
import { recordSettlings, waitOf } from '../../support/settlings.js'

test("A8 with outcome: 'explicit' each outcome does what it says", async ({ db }) => {
  const bugle = db.bugle()
  const settlings = await recordSettlings(db)
  const outcomes: Record<string, () => unknown> = {
    ack: () => ack({ sent: 1 }),
    reject: () => reject('no such address'),
    retry: () => retry({ delayMs: 60_000, reason: 'busy' }),
    release: () => release({ delayMs: 50_000 }),
    partial: () => partial({ page: 2 }, { delayMs: 40_000 }),
  }
  const names = Object.keys(outcomes)
  const ids = await bugle.putMany('emails', names)
  const consumer = await bugle.consume('emails', async ({ payload }) => outcomes[payload as string]?.(), {
    outcome: 'explicit',
    keep: 'all',
  })
  await consumer.idle()
  expect(await archivedRows(db)).toMatchObject([{ id: ids[0], payload: 'ack', attempt: 1, result: { sent: 1 } }])
  expect(await fullRows(db)).toMatchObject([
    {
      payload: 'reject',
      state: 'failed',
      attempt: 1,
      last_error: { code: 'REJECTED', message: 'no such address', failedBy: 'rejected', attempt: 1 },
    },
    {
      payload: 'retry',
      state: 'scheduled',
      attempt: 1,
      worker_id: null,
      last_error: { message: 'busy', failedBy: 'retrying', attempt: 1 },
    },
    { payload: 'release', state: 'scheduled', attempt: 0, worker_id: null, last_error: null },
    { payload: 'partial', state: 'scheduled', attempt: 1, worker_id: null, progress: { page: 2 }, last_error: null },
  ])
  const waits = [60_000, 50_000, 40_000]
  for (const [index, ms] of waits.entries()) expect(await settlings(ids[index + 2] ?? '')).toEqual([waitOf(ms)])
})

test("A8 with outcome: 'explicit' a throw is a failure like any other, and an outcome that is thrown counts", async ({
  db,
}) => {
  const bugle = db.bugle()
  const acked = db.collect(bugle, 'job:acked')
  const thrown: unknown[] = [new Error('broken'), ack(), release({ delayMs: 60_000 })]
  const consumer = await bugle.consume('emails', ({ payload }) => Promise.reject(thrown[payload as number]), {
    outcome: 'explicit',
    retryStrategy: false,
  })
  await bugle.putMany('emails', [...thrown.keys()])
  await consumer.idle()
  expect(acked.all).toHaveLength(1)
  expect(await fullRows(db)).toMatchObject([
    { payload: 0, state: 'failed', attempt: 1, last_error: { failedBy: 'exhausted' } },
    { payload: 2, attempt: 0 },
  ])
})

test('D6 message, stack and attempt of the last failed run are stored, also while the job waits for the next', async ({
  db,
}) => {
  const bugle = db.bugle()
  const retrying = db.collect(bugle, 'job:retrying')
  const errors: Error[] = []
  const ends = [
    () => {
      const error = new TypeError(`run ${errors.length + 1}`, { cause: new Error('deeper') })
      errors.push(error)
      throw error
    },
    () => release({ delayMs: 60_000 }),
    () => partial('half', { delayMs: 60_000 }),
    () => retry({ delayMs: 60_000, reason: 'politely' }),
    () => ack(),
  ]
  let runs = 0
  const ran = [
    db.collect(bugle, 'job:released'),
    db.collect(bugle, 'job:partial'),
    retrying,
    db.collect(bugle, 'job:acked'),
  ]
  const consumer = await bugle.consume('emails', () => ends[runs++]?.(), {
    retryStrategy: { maxAttempts: 10, delaysMs: 60_000 },
  })
  const id = await bugle.put('emails', null)
  expect(await retrying.next()).toMatchObject({ id, attempt: 1 })
  const stored = {
    name: 'TypeError',
    message: 'run 1',
    stack: errors[0]?.stack?.slice(0, 4_000),
    cause: expect.objectContaining({ name: 'Error', message: 'deeper' }),
    failedBy: 'retrying',
    attempt: 1,
  }
  expect((await fullRows(db))[0]?.last_error).toEqual(stored)
  // Neither a release nor a step that is done takes it away; the next failure takes its place.
  for (const each of ran.slice(0, 2)) {
    await makeDue(db, id)
    await each?.next()
    expect((await fullRows(db))[0]).toMatchObject({ state: 'scheduled', finished_at: null, last_error: stored })
  }
  await makeDue(db, id)
  expect(await retrying.next()).toMatchObject({ attempt: 3 })
  expect((await fullRows(db))[0]?.last_error).toMatchObject({ message: 'politely', failedBy: 'retrying', attempt: 3 })
  await makeDue(db, id)
  expect(await ran[3]?.next()).toMatchObject({ attempt: 4 })
  await consumer.idle()
  expect(await db.jobs()).toEqual([])
})

test('release: the attempt is given back, however often; without a delay it is 1000 ms', async ({ db }) => {
  const bugle = db.bugle()
  const settlings = await recordSettlings(db)
  const released = db.collect(bugle, 'job:released')
  const failed = db.collect(bugle, 'job:failed')
  hasten(db, bugle)
  const attempts: number[] = []
  await bugle.consume(
    'emails',
    ({ attempt }) => {
      attempts.push(attempt)
      if (attempts.length > 5) broken()
      return attempts.length === 1 ? release() : release({ delayMs: attempts.length === 2 ? 0 : 300 })
    },
    { retryStrategy: { maxAttempts: 1 } },
  )
  const id = await bugle.put('emails', null, { maxAttempts: 1 })
  expect(await failed.next()).toMatchObject({ id, attempt: 1, cause: 'exhausted' })
  expect(attempts).toEqual([1, 1, 1, 1, 1, 1])
  expect(released.all.map(({ attempt }) => attempt)).toEqual([1, 1, 1, 1, 1])
  const records = await settlings(id)
  expect(records).toEqual([1000, 0, 300, 300, 300].map((ms) => waitOf(ms)))
  expect(records.map(({ attempt, state }) => [attempt, state])).toEqual([
    [0, 'scheduled'],
    [0, 'ready'],
    [0, 'scheduled'],
    [0, 'scheduled'],
    [0, 'scheduled'],
  ])
  const [row] = await fullRows(db)
  expect(row).toMatchObject({ state: 'failed', attempt: 1 })
  // The fence has grown with each claim all the same.
  expect(Number(row?.lease)).toBeGreaterThanOrEqual(6)
})

/** Reasons of a retry, and the message that is stored and reported of each. */
const retryReasons: [reason: unknown, message: string][] = [
  [undefined, 'the handler asked for a retry'],
  ['busy', 'busy'],
  [new TypeError('down'), 'down'],
  [503, '503'],
  [null, 'null'],
]

test('retry(): counts like a failed run: its reason is stored, and the last one fails the job', async ({ db }) => {
  const bugle = db.bugle()
  const retrying = db.collect(bugle, 'job:retrying')
  const failed = db.collect(bugle, 'job:failed')
  hasten(db, bugle)
  await bugle.consume('emails', ({ payload }) => retry({ reason: retryReasons[payload as number]?.[0] }), {
    retryStrategy: { maxAttempts: 2, delaysMs: [60_000] },
  })
  const ids = await bugle.putMany('emails', [...retryReasons.keys()])
  for (const _ of ids) expect(await failed.next()).toMatchObject({ attempt: 2, cause: 'exhausted' })
  const rows = await fullRows(db)
  for (const [index, [reason, message]] of retryReasons.entries()) {
    const id = ids[index]
    const told = [...retrying.all, ...failed.all].filter((event) => event.id === id)
    expect(told).toHaveLength(2)
    for (const { error } of told) {
      if (reason instanceof Error) expect(error).toBe(reason)
      else expect(error.message).toBe(message)
    }
    expect(rows[index]).toMatchObject({
      id,
      state: 'failed',
      last_error: { message, failedBy: 'exhausted', attempt: 2 },
    })
  }
})

test('retry(): a delay is no way around the strategy’s false', async ({ db }) => {
  const bugle = db.bugle()
  const failed = db.collect(bugle, 'job:failed')
  const consumer = await bugle.consume('emails', () => retry({ delayMs: 0, reason: 'busy' }), { retryStrategy: false })
  await bugle.put('emails', null, { maxAttempts: 5 })
  await consumer.idle()
  expect(failed.all).toMatchObject([{ attempt: 1, cause: 'exhausted', error: { message: 'busy' } }])
})

for (const prepare of [true, false]) {
  const how = prepare ? '' : ', without prepared statements'
  test(`outcomes: those of one batch are settled together, each by its own rule${how}`, async ({ db }) => {
    const bugle = db.bugle({ prepare })
    const ends: (() => unknown)[] = [
      () => ack(1),
      () => reject('no'),
      () => retry(),
      () => release(),
      () => partial('p'),
      broken,
    ]
    const count = 10 * ends.length
    const barrier = signal()
    let come = 0
    const handler = async ({ payload }: Job): Promise<unknown> => {
      come += 1
      if (come === count) barrier.resolve()
      await barrier.promise
      return ends[(payload as number) % ends.length]?.()
    }
    const consumer = await bugle.consume(
      'emails',
      { own: handler },
      { concurrency: count, keep: 'all', withoutFlags: ['gpu'] },
    )
    await bugle.putMany('emails', [...Array(count).keys()], (n) => ({ kind: 'own', key: `key ${n}`, maxAttempts: 3 }))
    await consumer.idle()
    expect(await archivedRows(db)).toHaveLength(10)
    const counts = new Map<string, number>()
    for (const { payload, state, attempt } of await fullRows(db)) {
      const what = [(payload as number) % ends.length, state, attempt].join()
      counts.set(what, (counts.get(what) ?? 0) + 1)
    }
    expect(Object.fromEntries(counts)).toEqual({
      '1,failed,1': 10,
      '2,scheduled,1': 10,
      '3,scheduled,0': 10,
      '4,scheduled,1': 10,
      '5,scheduled,1': 10,
    })
  })
}
