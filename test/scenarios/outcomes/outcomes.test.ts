import { expect } from 'vitest'
import * as z from 'zod'
import { ack, type BugleError, type Job, partial, reject, release, retry } from '../../../src/index.js'
import { signal, test } from '../../support/database.js'
import { archivedRows, fullRows, hasten, makeDue } from '../../support/rows.js'
import { recordSettlings, waitOf } from '../../support/settlings.js'
import { untilAsleep } from '../../support/sleepers.js'

const broken = (): never => {
  throw new Error('broken')
}

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

test("A8 with outcome: 'explicit' a throw is a failure like any other, also of an outcome", async ({ db }) => {
  const bugle = db.bugle()
  const acked = db.collect(bugle, 'job:acked')
  const thrown: unknown[] = [new Error('broken'), ack(), release()]
  const consumer = await bugle.consume('emails', ({ payload }) => Promise.reject(thrown[payload as number]), {
    outcome: 'explicit',
    retryStrategy: false,
  })
  await bugle.putMany('emails', [...thrown.keys()])
  await consumer.idle()
  expect(acked.all).toEqual([])
  const failed = { state: 'failed', attempt: 1, last_error: { failedBy: 'exhausted' } }
  expect(await fullRows(db)).toMatchObject([failed, failed, failed])
})

const throwing = (thrown: unknown) => (): never => {
  throw thrown
}

const hookEnds: Record<string, () => unknown> = {
  throws: broken,
  'throws undefined': throwing(undefined),
  rejects: () => Promise.reject(new Error('broken')),
  'answers with a thenable that rejects': () => ({
    // biome-ignore lint/suspicious/noThenProperty: a thenable is what is shown
    then: (_: unknown, refuse: (reason: unknown) => void) => refuse(new Error('broken')),
  }),
  'answers with an outcome': () => retry(),
}

for (const [what, end] of Object.entries(hookEnds)) {
  test(`D4 an onFailed that ${what} changes nothing: the failure stays, the slot lives`, async ({ db }) => {
    const bugle = db.bugle()
    const told = db.collect(bugle, 'callback:error')
    const failed = db.collect(bugle, 'job:failed')
    const calls: unknown[] = []
    const order: unknown[] = []
    const consumer = await bugle.consume(
      'emails',
      ({ payload }) => {
        order.push(payload)
        if (payload === 'bad') throw new Error('it went wrong')
      },
      {
        concurrency: 1,
        retryStrategy: { retries: 1 },
        onFailed: (job, error) => {
          calls.push([job.id, job.attempt, error.message])
          return end()
        },
      },
    )
    const [id] = await bugle.putMany('emails', ['bad', 'good'])
    await consumer.idle()
    // Not after the first run, which was to be retried.
    expect(calls).toEqual([[id, 2, 'it went wrong']])
    expect(order.sort()).toEqual(['bad', 'bad', 'good'])
    expect(failed.all).toHaveLength(1)
    expect(await fullRows(db)).toMatchObject([
      { id, state: 'failed', attempt: 2, last_error: { message: 'it went wrong', failedBy: 'exhausted' } },
    ])
    const error = expect.any(Error)
    expect(told.all).toEqual(what === 'answers with an outcome' ? [] : [{ queue: 'emails', where: 'onFailed', error }])
    expect(await consumer.stop()).toMatchObject({ completed: 1, failed: 1 })
  })
}

test('D4 onFailed is called once for each cause, with the job and its error, when the row is failed', async ({
  db,
}) => {
  const bugle = db.bugle({ schemas: { emails: z.object({ to: z.email(), ends: z.string().optional() }) } })
  const failed = db.collect(bugle, 'job:failed')
  const seen: { id: string; state: string | undefined; error: Error; isFrozen: boolean; told: number }[] = []
  const consumer = await bugle.consume(
    'emails',
    {
      letter: async (job) => {
        const { ends } = job.payload as { ends: string }
        if (ends === 'rejected') return reject('no')
        if (ends === 'exhausted') return broken()
        if (ends === 'result') return { n: 1n }
        await db.sql.unsafe(`select ${db.s}.cancel($1)`, [job.id])
        return release()
      },
    },
    {
      unknownKinds: 'fail',
      keep: 'all',
      retryStrategy: false,
      onFailed: async (job, error) => {
        const [row] = await db.sql.unsafe<{ state: string }[]>(`select state from ${db.s}.job where id = $1`, [job.id])
        const told = failed.all.filter(({ id }) => id === job.id).length
        seen.push({ id: job.id, state: row?.state, error, isFrozen: Object.isFrozen(job), told })
        // As one does to keep them apart.
        await bugle.put('dead letters', { job: job.id, message: error.message })
      },
    },
  )
  const to = 'a@example.org'
  const ends = ['rejected', 'exhausted', 'result', 'cancelled']
  await bugle.putMany(
    'emails',
    ends.map((each) => ({ to, ends: each })),
    { kind: 'letter' },
  )
  await bugle.put('emails', { to }, { kind: 'parcel' })
  await db.sql.unsafe(`insert into ${db.s}.job (queue, kind, payload) values ('emails', 'letter', '{"to": "nobody"}')`)
  await consumer.idle()
  const rows = (await fullRows(db)).filter(({ queue }) => queue === 'emails')
  expect(rows.map(({ state, last_error }) => [state, last_error?.failedBy])).toEqual([
    ['failed', 'rejected'],
    ['failed', 'exhausted'],
    ['failed', 'invalid'],
    ['failed', 'cancelled'],
    ['failed', 'no-handler'],
    ['failed', 'invalid'],
  ])
  expect(seen.map(({ id }) => id).sort()).toEqual(rows.map(({ id }) => id).sort())
  for (const { id, state, error, isFrozen, told } of seen) {
    expect([state, isFrozen, told]).toEqual(['failed', true, 1])
    expect(failed.all.find((event) => event.id === id)?.error).toBe(error)
  }
  expect((await db.jobs()).filter(({ queue }) => queue === 'dead letters')).toHaveLength(6)
})

test('D4 onFailed is called too where the database refuses to store an outcome, with its error', async ({ db }) => {
  await db.sql.unsafe(`alter table ${db.s}.job add constraint no_poison check (progress <> '"poison"')`)
  const bugle = db.bugle()
  const seen: unknown[] = []
  const consumer = await bugle.consume('emails', ({ payload }) => partial(payload), {
    onFailed: (job, error) => seen.push([job.id, error.message]),
  })
  const [id] = await bugle.putMany('emails', ['poison', 'fine'])
  await consumer.idle()
  expect(seen).toEqual([[id, expect.stringContaining('no_poison')]])
  expect(await fullRows(db)).toMatchObject([
    { id, state: 'failed', attempt: 1, progress: null, last_error: { failedBy: 'invalid' } },
    { state: 'scheduled', attempt: 1, progress: 'fine' },
  ])
})

test('D5 jobs of other kinds, and of none, are left for a consumer that has a handler', async ({ db }) => {
  const first = db.bugle()
  const second = db.bugle()
  const seen: unknown[] = []
  const see = (who: string) => (job: Job) => void seen.push([who, job.kind, job.payload])
  const bugle = db.bugle()
  await bugle.putMany('media', ['thumb', 'probe', null], (kind) => (kind === null ? {} : { kind: kind as string }))
  const thumbs = await first.consume('media', { thumb: see('first'), crop: see('first') })
  await thumbs.idle()
  expect(seen).toEqual([['first', 'thumb', 'thumb']])
  const waiting = { state: 'ready', attempt: 0, lease: '0', last_error: null }
  expect(await fullRows(db)).toMatchObject([
    { kind: 'probe', ...waiting },
    { kind: null, ...waiting },
  ])
  const probes = await second.consume('media', { probe: see('second') })
  await probes.idle()
  // Both asleep: a job wakes the one that has a handler, and is not lost by waking the other.
  for (const [round, kind] of ['probe', 'thumb', 'probe', 'crop'].entries()) {
    await untilAsleep(db, 'media', 2)
    const acked = signal()
    for (const each of [first, second]) each.once('job:acked', () => acked.resolve())
    await bugle.put('media', round, { kind })
    await acked.promise
  }
  await Promise.all([thumbs.idle(), probes.idle()])
  expect(seen.slice(1)).toEqual([
    ['second', 'probe', 'probe'],
    ['second', 'probe', 0],
    ['first', 'thumb', 1],
    ['second', 'probe', 2],
    ['first', 'crop', 3],
  ])
  expect(await fullRows(db)).toMatchObject([{ kind: null, ...waiting }])
  // A function takes whatever there is.
  await probes.stop()
  await bugle.put('media', 'left', { kind: 'probe' })
  const all = await second.consume('media', see('all'), { concurrency: 1 })
  await all.idle()
  expect(seen.slice(6)).toEqual([
    ['all', null, null],
    ['all', 'probe', 'left'],
  ])
  expect(await db.jobs()).toEqual([])
})

test("D5 with unknownKinds: 'fail' a job without a handler fails at once, whatever the retries", async ({ db }) => {
  const bugle = db.bugle()
  const failed = db.collect(bugle, 'job:failed')
  const asked: unknown[] = []
  const seen: unknown[] = []
  const consumer = await bugle.consume(
    'media',
    { thumb: (job) => void seen.push(job.payload) },
    {
      unknownKinds: 'fail',
      concurrency: 1,
      retryStrategy: (job) => {
        asked.push(job.id)
        return { retries: 5 }
      },
    },
  )
  const names = ['probe', 'thumb', 'toString', '__proto__', 'none']
  const ids = await bugle.putMany('media', names, (kind) =>
    kind === 'none' ? { maxAttempts: 9 } : { kind: kind as string, maxAttempts: 9 },
  )
  await consumer.idle()
  expect(seen).toEqual(['thumb'])
  expect(asked).toEqual([])
  expect(
    (await fullRows(db)).map(({ kind, state, attempt, last_error }) => [kind, state, attempt, last_error]),
  ).toEqual(
    ['probe', 'toString', '__proto__', null].map((kind) => [
      kind,
      'failed',
      1,
      expect.objectContaining({ code: 'NO_HANDLER', failedBy: 'no-handler', attempt: 1 }),
    ]),
  )
  expect(failed.all.map(({ id, cause, error }) => [id, cause, (error as BugleError).code, error.message])).toEqual([
    [ids[0], 'no-handler', 'NO_HANDLER', 'no handler for the kind "probe" in the queue "media"'],
    [ids[2], 'no-handler', 'NO_HANDLER', 'no handler for the kind "toString" in the queue "media"'],
    [ids[3], 'no-handler', 'NO_HANDLER', 'no handler for the kind "__proto__" in the queue "media"'],
    [ids[4], 'no-handler', 'NO_HANDLER', 'no handler for jobs without a kind in the queue "media"'],
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
    retryStrategy: { retries: 9, delaysMs: 60_000 },
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

test('D8 progress comes back on the next run; the run counts, and never exhausts the job', async ({ db }) => {
  const bugle = db.bugle()
  const settlings = await recordSettlings(db)
  const partials = db.collect(bugle, 'job:partial')
  const acked = db.collect(bugle, 'job:acked')
  const seen: unknown[] = []
  const progresses = [{ page: 1 }, [2], 'three', 4, false, null]
  hasten(db, bugle)
  const consumer = await bugle.consume(
    'emails',
    ({ attempt, progress }) => {
      seen.push([attempt, progress])
      if (attempt > progresses.length) return ack()
      return partial(progresses[attempt - 1], attempt === 1 ? {} : { delayMs: attempt * 100 })
    },
    { retryStrategy: false },
  )
  const id = await bugle.put('emails', null, { maxAttempts: 2 })
  expect(await acked.next()).toMatchObject({ id, attempt: 7 })
  expect(seen).toEqual([null, ...progresses].map((progress, index) => [index + 1, progress]))
  const waits = [1000, 200, 300, 400, 500, 600]
  expect(await settlings(id)).toEqual(waits.map((ms) => waitOf(ms)))
  expect(partials.all.map(({ attempt }) => attempt)).toEqual([1, 2, 3, 4, 5, 6])
  await consumer.idle()
  expect(await db.jobs()).toEqual([])
})

test('D8 progress outlives failed and released runs; steps that are done count where a later run fails', async ({
  db,
}) => {
  const bugle = db.bugle()
  const failed = db.collect(bugle, 'job:failed')
  hasten(db, bugle)
  const seen: unknown[] = []
  const ends = [() => partial('half'), broken, () => release(), () => retry(), () => partial(undefined), broken]
  await bugle.consume(
    'emails',
    ({ attempt, progress }) => {
      seen.push([attempt, progress])
      return ends[seen.length - 1]?.()
    },
    { retryStrategy: { retries: 4 } },
  )
  await bugle.put('emails', null)
  // Five runs that count, and the strategy allows no more than five.
  expect(await failed.next()).toMatchObject({ attempt: 5, cause: 'exhausted' })
  expect(seen).toEqual([
    [1, null],
    [2, 'half'],
    [3, 'half'],
    [3, 'half'],
    [4, 'half'],
    [5, null],
  ])
})

test('D8 progress that cannot be stored fails the run with the cause invalid', async ({ db }) => {
  const bugle = db.bugle({ maxPayloadBytes: 100 })
  const failed = db.collect(bugle, 'job:failed')
  const progresses: unknown[] = [{ n: 1n }, () => {}, 'x'.repeat(100), 'a\0b']
  const consumer = await bugle.consume('emails', ({ payload }) => partial(progresses[payload as number]), {
    concurrency: 1,
  })
  await bugle.putMany('emails', [...progresses.keys()], { maxAttempts: 9 })
  await consumer.idle()
  expect(failed.all.map(({ cause, error }) => [cause, (error as BugleError).code])).toEqual([
    ['invalid', 'INVALID_PAYLOAD'],
    ['invalid', 'INVALID_PAYLOAD'],
    ['invalid', 'PAYLOAD_TOO_LARGE'],
    ['invalid', 'INVALID_PAYLOAD'],
  ])
  for (const row of await fullRows(db)) {
    expect(row).toMatchObject({
      state: 'failed',
      attempt: 1,
      progress: null,
      last_error: { failedBy: 'invalid', message: expect.stringMatching(/^progress/) },
    })
  }
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
    { retryStrategy: { retries: 0 } },
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

/** Reasons of a retry, and what is stored and told of them. */
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
    retryStrategy: { retries: 1, delaysMs: [60_000] },
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

test("keep: with 'all' acked jobs move to the archive, with result, attempt, and the times of queue and run", async ({
  db,
}) => {
  const bugle = db.bugle()
  const acked = db.collect(bugle, 'job:acked')
  hasten(db, bugle)
  const results: unknown[] = [{ sent: [1] }, 'text', 0, false, null, undefined, ack(), ack({ sent: 2 }), ack([null])]
  const kept = [{ sent: [1] }, 'text', 0, false, null, null, null, { sent: 2 }, [null]]
  const claims = new Map<string, unknown>()
  await bugle.consume(
    'emails',
    async ({ id, attempt, payload }) => {
      if (attempt === 1) return retry({ delayMs: 60_000 })
      const [row] = await db.sql.unsafe(`select run_at, claimed_at, lease, worker_id from ${db.s}.job where id = $1`, [
        id,
      ])
      claims.set(id, row)
      return results[payload as number]
    },
    { keep: 'all' },
  )
  const before = new Date()
  const ids = await bugle.putMany('emails', [...results.keys()], {
    kind: 'letter',
    priority: 3,
    flags: ['eu', 'slow'],
    maxAttempts: 4,
  })
  const keyed = await bugle.put('emails', 0, { key: 'only' })
  for (let left = ids.length + 1; left > 0; left -= 1) await acked.next()
  expect(await db.jobs()).toEqual([])
  const rows = await archivedRows(db)
  expect(rows.map(({ id }) => id)).toEqual([...ids, keyed])
  expect(rows.at(-1)).toMatchObject({ key: 'only', flags: null, kind: null })
  for (const [index, row] of rows.slice(0, -1).entries()) {
    expect(row).toMatchObject({
      queue: 'emails',
      kind: 'letter',
      payload: index,
      priority: 3,
      flags: ['eu', 'slow'],
      key: null,
      max_attempts: 4,
      attempt: 2,
      crashes: 0,
      result: kept[index],
      ...(claims.get(row.id) as object),
    })
    // In the queue from run_at to claimed_at, at work from there to finished_at.
    const times = [row.created_at, row.run_at, row.claimed_at, row.finished_at].map(
      (time) => time?.getTime() ?? Number.NaN,
    )
    expect(times).toEqual(times.toSorted((a, b) => a - b))
    expect(times[3]).toBeLessThan(before.getTime() + 60_000)
  }
})

test("keep: with 'all' no job is archived that did not succeed; with 'failed' none at all", async ({ db }) => {
  const bugle = db.bugle()
  const ends: (() => unknown)[] = [
    () => ack(1),
    () => reject('no'),
    () => retry(),
    () => release(),
    () => partial(1),
    broken,
  ]
  for (const keep of ['all', 'failed', undefined] as const) {
    const queue = `keep ${keep}`
    const options = keep === undefined ? {} : { keep }
    const consumer = await bugle.consume(queue, ({ payload }) => ends[payload as number]?.(), options)
    await bugle.putMany(queue, [...ends.keys()])
    await consumer.idle()
  }
  expect(await archivedRows(db)).toMatchObject([{ queue: 'keep all', payload: 0, result: 1 }])
  expect((await fullRows(db)).map(({ queue, payload }) => [queue, payload])).toEqual(
    ['keep all', 'keep failed', 'keep undefined'].flatMap((queue) =>
      [1, 2, 3, 4, 5].map((payload) => [queue, payload]),
    ),
  )
})

test('keep: a result that cannot be stored fails the run where it is kept, and is of no account where it is not', async ({
  db,
}) => {
  const bugle = db.bugle({ maxPayloadBytes: 100 })
  const failed = db.collect(bugle, 'job:failed')
  const acked = db.collect(bugle, 'job:acked')
  const circle: Record<string, unknown> = {}
  circle.self = circle
  const results: unknown[] = [1n, () => {}, Symbol('s'), circle, 'x'.repeat(100), 'a\0b', ack({ n: Number.NaN })]
  const handler = ({ payload }: Job): unknown => results[payload as number]
  const options = { retryStrategy: { retries: 5 } } as const
  const kept = await bugle.consume('kept', handler, { ...options, concurrency: 1, keep: 'all' })
  const dropped = await bugle.consume('dropped', handler, options)
  await bugle.putMany('kept', [...results.keys()], { maxAttempts: 9 })
  await bugle.putMany('dropped', [...results.keys()])
  await Promise.all([kept.idle(), dropped.idle()])
  expect(acked.all.map(({ queue }) => queue)).toEqual(results.map(() => 'dropped'))
  expect(failed.all.map(({ queue, cause, attempt }) => [queue, cause, attempt])).toEqual(
    results.map(() => ['kept', 'invalid', 1]),
  )
  expect(failed.all.map(({ error }) => (error as BugleError).code)).toEqual(
    results.map((result) => (result === 'x'.repeat(100) ? 'PAYLOAD_TOO_LARGE' : 'INVALID_PAYLOAD')),
  )
  expect(await archivedRows(db)).toEqual([])
  for (const row of await fullRows(db)) {
    expect(row).toMatchObject({
      queue: 'kept',
      state: 'failed',
      attempt: 1,
      last_error: { failedBy: 'invalid', message: expect.stringMatching(/^result/) },
    })
  }
})

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
        payload === 'no strategy' ? broken() : { retries: payload === 'retrying' ? 3 : 0, delaysMs: 5_000 },
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
    expect(data, payload).toStrictEqual({ ...about(payload), error, cause: causes[index] })
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
