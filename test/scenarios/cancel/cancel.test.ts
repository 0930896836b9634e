import { expect, onTestFinished } from 'vitest'
import { type Bugle, type BugleError, type Outcome, partial, reject, release, retry } from '../../../src/index.js'
import { signal, type TestDatabase } from '../../support/database.js'
import { test } from '../../support/gates.js'
import { startStopProcess } from '../../support/stop-process.js'
import { aborted, fence, untilShown, withoutHeartbeat } from '../../support/stopping.js'

/** No retry within the test. */
const later = { retries: 3, delaysMs: 3_600_000 } as const

test('G1 a queued job that is cancelled never runs: failed, cause cancelled', async ({ db }) => {
  const bugle = db.bugle()
  const ready = await bugle.put('q', 'ready')
  const scheduled = await bugle.put('q', 'scheduled', { delayMs: 100 })
  expect(await bugle.cancel(ready)).toBe('cancelled')
  expect(await bugle.cancel(scheduled)).toBe('cancelled')
  const seen: unknown[] = []
  const consumer = await bugle.consume('q', (job) => void seen.push(job.payload))
  // A later one that is due later: by then the cancelled ones had their time.
  await bugle.put('q', 'fence', { delayMs: 200 })
  while (seen.length === 0) await new Promise((resolve) => setImmediate(resolve))
  await consumer.idle()
  expect(seen).toEqual(['fence'])
  const failed = { state: 'failed', attempt: 0, last_error: { failedBy: 'cancelled' } }
  expect(await db.jobs()).toMatchObject([
    { id: ready, ...failed },
    { id: scheduled, ...failed },
  ])
  expect(await bugle.cancel(ready)).toBe('not-found')
  expect(await consumer.stop()).toMatchObject({ completed: 1, failed: 0 })
})

/** Who asks for the cancel of a running job, and how. */
const askers: Record<string, (db: TestDatabase, consuming: Bugle, id: string) => Promise<unknown>> = {
  'by the instance that runs it': async (_db, consuming, id) => expect(await consuming.cancel(id)).toBe('requested'),
  'by another instance': async (db, _consuming, id) => expect(await db.bugle().cancel(id)).toBe('requested'),
  'by the SQL function': (db, _consuming, id) => db.sql.unsafe(`select ${db.s}.cancel(${id})`),
  'by an update of its column': (db, _consuming, id) =>
    db.sql.unsafe(`update ${db.s}.job set cancel_requested_at = now() where id = ${id}`),
}
for (const [who, ask] of Object.entries(askers)) {
  test(`G2 a running job that is cancelled ${who} is told by its signal, fails with the cause cancelled and is not retried`, async ({
    db,
  }) => {
    // Neither sweep nor heartbeat: the notification does it.
    const bugle = db.bugle(withoutHeartbeat)
    const failed = db.collect(bugle, 'job:failed')
    const retrying = db.collect(bugle, 'job:retrying')
    const begun = signal<string>()
    const reason = signal<unknown>()
    const onFailed = signal<Error>()
    const consumer = await bugle.consume(
      'q',
      async (job, ctx) => {
        begun.resolve(job.id)
        const why = await aborted(ctx)
        reason.resolve(why)
        throw why
      },
      { onFailed: (_job, error) => onFailed.resolve(error) },
    )
    await bugle.put('q', 1)
    const id = await begun.promise
    await ask(db, bugle, id)
    expect(await reason.promise).toMatchObject({ name: 'BugleError', code: 'CANCELLED' })
    expect(await failed.next()).toMatchObject({ queue: 'q', id, attempt: 1, cause: 'cancelled' })
    expect(failed.all[0]?.error).toMatchObject({ code: 'CANCELLED' })
    expect(await onFailed.promise).toMatchObject({ code: 'CANCELLED' })
    expect(await db.jobs()).toMatchObject([{ id, state: 'failed', attempt: 1, last_error: { failedBy: 'cancelled' } }])
    await consumer.idle()
    expect(retrying.all).toEqual([])
    expect(failed.all).toHaveLength(1)
    expect(await consumer.stop()).toMatchObject({ completed: 0, failed: 1, interrupted: 0 })
  })
}

test('G2 a cancel reaches a handler in another process', async ({ db }) => {
  const process = startStopProcess(db, { queue: 'q', handler: 'promise', ms: 60_000, bugle: withoutHeartbeat })
  await process.next('consume')
  const id = await db.bugle().put('q', 1)
  await process.next('begin')
  expect(await db.bugle().cancel(id)).toBe('requested')
  expect((await process.next('abort')).code).toBe('CANCELLED')
  expect((await process.next('job:failed')).data).toMatchObject({ id, cause: 'cancelled' })
  expect(await db.jobs()).toMatchObject([{ id, state: 'failed', last_error: { failedBy: 'cancelled' } }])
})

const losses: Record<string, (db: TestDatabase) => Promise<{ bugle: Bugle }>> = {
  'its notification was lost': async (db) => {
    await db.sql.unsafe(`alter table ${db.s}.job disable trigger job_cancel`)
    return { bugle: db.bugle({ rescueAfterMs: 900 }) }
  },
  'nothing is listened to': async (db) => ({ bugle: db.bugle({ listen: false, rescueAfterMs: 900 }) }),
}
for (const [what, lose] of Object.entries(losses)) {
  test(`G2 a running job is told of its cancel also when ${what}`, async ({ db }) => {
    const { bugle } = await lose(db)
    const failed = db.collect(bugle, 'job:failed')
    const begun = signal<string>()
    await bugle.consume('q', async (job, ctx) => {
      begun.resolve(job.id)
      throw await aborted(ctx)
    })
    await bugle.put('q', 1)
    const id = await begun.promise
    expect(await bugle.cancel(id)).toBe('requested')
    expect(await failed.next()).toMatchObject({ id, cause: 'cancelled', error: { code: 'CANCELLED' } })
    expect(await db.jobs()).toMatchObject([{ state: 'failed', last_error: { failedBy: 'cancelled' } }])
  })
}

test('G2 a cancel that comes while the listener is away is told when it is back', async ({ db }) => {
  const bugle = db.bugle(withoutHeartbeat)
  const failed = db.collect(bugle, 'job:failed')
  const health = db.collect(bugle, 'listener:health')
  const begun = signal<string>()
  await bugle.consume('q', async (job, ctx) => {
    begun.resolve(job.id)
    throw await aborted(ctx)
  })
  await bugle.put('q', 1)
  const id = await begun.promise
  expect((await health.next()).to).toBe('live')
  await untilShown(db)
  // Requested, and told of as soon as nobody listens: sooner than a new listener can be there.
  await db.sql.begin(async (tx) => {
    await tx.unsafe(`update ${db.s}.job set cancel_requested_at = now() where id = $1`, [id])
    await db.kill(await db.backends('listener'))
  })
  expect(await failed.next()).toMatchObject({ id, cause: 'cancelled' })
})

test('G2 a cancel of one job leaves the others alone', async ({ db, gate }) => {
  const bugle = db.bugle(withoutHeartbeat)
  const failed = db.collect(bugle, 'job:failed')
  const end = gate()
  const signals = new Map<string, AbortSignal>()
  const all = signal()
  const consumer = await bugle.consume('q', async (job, ctx) => {
    signals.set(job.id, ctx.signal)
    if (signals.size === 3) all.resolve()
    await Promise.race([aborted(ctx), end.promise])
    ctx.signal.throwIfAborted()
  })
  const ids = await bugle.putMany('q', [1, 2, 3])
  await all.promise
  await bugle.cancel(ids[1] ?? '')
  await failed.next()
  await fence(db)
  expect(ids.map((id) => signals.get(id)?.aborted)).toEqual([false, true, false])
  end.resolve()
  await consumer.idle()
  expect(await db.jobs()).toMatchObject([{ id: ids[1], state: 'failed' }])
})

test('G2 a handler that reads its signal only after the cancel finds it aborted', async ({ db, gate }) => {
  const bugle = db.bugle({ rescueAfterMs: 900 })
  const begun = signal<string>()
  const read = gate()
  const found = signal<AbortSignal>()
  await bugle.consume('q', async (job, ctx) => {
    begun.resolve(job.id)
    await read.promise
    found.resolve(ctx.signal)
    await aborted(ctx)
    throw new Error('its own words')
  })
  await bugle.put('q', 1)
  const id = await begun.promise
  const failed = db.collect(bugle, 'job:failed')
  await bugle.cancel(id)
  // Notifications arrive in the order of their commits: with this one, that of the cancel has come.
  await fence(db)
  read.resolve()
  expect((await failed.next()).cause).toBe('cancelled')
  expect((await found.promise).reason).toMatchObject({ code: 'CANCELLED' })
})

test('G2 a cancelled job fails with the cause cancelled also in its last attempt', async ({ db }) => {
  const bugle = db.bugle(withoutHeartbeat)
  const failed = db.collect(bugle, 'job:failed')
  const begun = signal<string>()
  await bugle.consume(
    'q',
    async (job, ctx) => {
      begun.resolve(job.id)
      throw await aborted(ctx)
    },
    { retryStrategy: false },
  )
  await bugle.put('q', 1)
  await bugle.cancel(await begun.promise)
  expect(await failed.next()).toMatchObject({ cause: 'cancelled', error: { code: 'CANCELLED' } })
  expect(await db.jobs()).toMatchObject([{ state: 'failed', last_error: { failedBy: 'cancelled' } }])
})

test('G2 of a cancelled job what its handler threw is kept as the cause of the error', async ({ db }) => {
  const bugle = db.bugle(withoutHeartbeat)
  const failed = db.collect(bugle, 'job:failed')
  const begun = signal<string>()
  const consumer = await bugle.consume('q', async (job, ctx) => {
    begun.resolve(job.id)
    await aborted(ctx)
    throw new Error('half way through')
  })
  await bugle.put('q', 1)
  const id = await begun.promise
  await bugle.cancel(id)
  await failed.next()
  const [row] = await db.sql.unsafe<{ last_error: unknown }[]>(`select last_error from ${db.s}.job`)
  expect(row?.last_error).toMatchObject({ failedBy: 'cancelled', cause: { message: 'half way through' } })
  await consumer.stop()
  // A person may want it all the same.
  expect(await bugle.requeue([id])).toBe(1)
})

test('G2 a requeued job that had been cancelled runs without that cancel', async ({ db }) => {
  const bugle = db.bugle({ rescueAfterMs: 900 })
  const id = await bugle.put('q', 1)
  await bugle.cancel(id)
  await bugle.requeue([id])
  const begun = signal<AbortSignal>()
  const go = signal()
  const consumer = await bugle.consume('q', async (_job, ctx) => {
    begun.resolve(ctx.signal)
    await go.promise
  })
  const own = await begun.promise
  await fence(db)
  expect(own.aborted).toBe(false)
  go.resolve()
  await consumer.idle()
  expect(await db.jobs()).toEqual([])
})

test('G3 a job that is cancelled while it finishes keeps its success', async ({ db }) => {
  const bugle = db.bugle(withoutHeartbeat)
  const acked = db.collect(bugle, 'job:acked')
  const failed = db.collect(bugle, 'job:failed')
  const begun = signal<string>()
  const consumer = await bugle.consume(
    'q',
    async (job, ctx) => {
      begun.resolve(job.id)
      await aborted(ctx)
      return { done: true }
    },
    { keep: 'all' },
  )
  await bugle.put('q', 1)
  const id = await begun.promise
  expect(await bugle.cancel(id)).toBe('requested')
  expect(await acked.next()).toMatchObject({ id })
  expect(failed.all).toEqual([])
  expect(await db.jobs()).toEqual([])
  expect(await db.sql.unsafe(`select id, result from ${db.s}.archive`)).toEqual([{ id, result: { done: true } }])
  expect(await consumer.stop()).toMatchObject({ completed: 1, failed: 0 })
})

test('G3 what was acked in the handler’s own transaction before the cancel stays acked', async ({ db }) => {
  const bugle = db.bugle(withoutHeartbeat)
  const acked = db.collect(bugle, 'job:acked')
  const committed = signal<string>()
  const go = signal()
  await bugle.consume('q', async (job, ctx) => {
    await db.sql.begin((tx) => ctx.ack(tx))
    committed.resolve(job.id)
    await go.promise
    throw new Error('after the commit')
  })
  await bugle.put('q', 1)
  const id = await committed.promise
  expect(await bugle.cancel(id)).toBe('not-found')
  go.resolve()
  expect(await acked.next()).toMatchObject({ id })
})

const outcomes: Record<string, { outcome: () => Outcome; cause: string }> = {
  retry: { outcome: () => retry({ delayMs: 0 }), cause: 'cancelled' },
  release: { outcome: () => release({ delayMs: 0 }), cause: 'cancelled' },
  partial: { outcome: () => partial(1, { delayMs: 0 }), cause: 'cancelled' },
  reject: { outcome: () => reject('no'), cause: 'rejected' },
}
for (const [name, { outcome, cause }] of Object.entries(outcomes)) {
  test(`G2 a cancelled job whose handler answers with ${name} ends failed, cause ${cause}`, async ({ db }) => {
    const bugle = db.bugle(withoutHeartbeat)
    const failed = db.collect(bugle, 'job:failed')
    const begun = signal<string>()
    let runs = 0
    const consumer = await bugle.consume('q', async (job, ctx) => {
      runs += 1
      begun.resolve(job.id)
      await aborted(ctx)
      return outcome()
    })
    await bugle.put('q', 1)
    await bugle.cancel(await begun.promise)
    expect(await failed.next()).toMatchObject({ cause })
    await consumer.idle()
    expect(runs).toBe(1)
    expect(await db.jobs()).toMatchObject([{ state: 'failed', attempt: 1, last_error: { failedBy: cause } }])
  })
}

test('G2 a cancelled job keeps its slot until its handler returns, and is told as stuck, once', async ({
  db,
  gate,
}) => {
  const bugle = db.bugle(withoutHeartbeat)
  const stuck = db.collect(bugle, 'job:stuck')
  const end = gate()
  const begun = signal<string>()
  const seen: unknown[] = []
  const consumer = await bugle.consume(
    'q',
    async (job, ctx) => {
      seen.push(job.payload)
      if (job.payload === 'next') return
      begun.resolve(job.id)
      await aborted(ctx)
      await end.promise
    },
    { concurrency: 1 },
  )
  await bugle.put('q', 'stubborn')
  const id = await begun.promise
  await bugle.put('q', 'next')
  await bugle.cancel(id)
  const told = await stuck.next()
  expect(told).toMatchObject({ queue: 'q', id, attempt: 1, reason: 'CANCELLED' })
  expect(told.ageMs).toBeGreaterThanOrEqual(4_900)
  expect(consumer.activeJobs).toBe(1)
  expect(seen).toEqual(['stubborn'])
  end.resolve()
  await consumer.idle()
  expect(seen).toEqual(['stubborn', 'next'])
  expect(stuck.all).toHaveLength(1)
  expect(await db.jobs()).toEqual([])
})

test('G2 a cancel at the very moment of the claim reaches the handler', async ({ db }) => {
  const bugle = db.bugle({ rescueAfterMs: 900 })
  const failed = db.collect(bugle, 'job:failed')
  await bugle.consume('q', async (_job, ctx) => {
    throw await aborted(ctx)
  })
  // Asked for by the very statement that claims: its notification comes before the claim's own answer, or with it.
  await db.sql.unsafe(`
    create function ${db.s}.cancel_at_once() returns trigger language plpgsql as $$
    begin update ${db.s}.job set cancel_requested_at = clock_timestamp() where id = new.id; return null; end $$;
    create trigger cancel_at_once after update on ${db.s}.job for each row
      when (old.state <> 'running' and new.state = 'running') execute function ${db.s}.cancel_at_once()`)
  const ids = await bugle.putMany('q', [...Array(20).keys()])
  for (const _ of ids) expect(await failed.next()).toMatchObject({ cause: 'cancelled' })
})

test('G3 cancels at random moments: each job is either acked or cancelled, and told as what it is', async ({ db }) => {
  const bugle = db.bugle({ rescueAfterMs: 900 })
  const acked = db.collect(bugle, 'job:acked')
  const failed = db.collect(bugle, 'job:failed')
  const count = 300
  let turn = 0
  const consumer = await bugle.consume('q', async (_job, ctx) => {
    turn += 1
    for (let left = turn % 7; left > 0; left -= 1) await new Promise((resolve) => setImmediate(resolve))
    if (turn % 2 === 0) ctx.signal.throwIfAborted()
  })
  const answers: Record<string, string> = {}
  await Promise.all(
    [...Array(count).keys()].map(async (n) => {
      const id = await bugle.put('q', n)
      for (let left = n % 5; left > 0; left -= 1) await new Promise((resolve) => setImmediate(resolve))
      answers[id] = await bugle.cancel(id)
    }),
  )
  await consumer.idle()
  const rows = await db.jobs()
  const cancelled = rows.filter(({ last_error }) => last_error?.failedBy === 'cancelled').map(({ id }) => id)
  expect(rows.map(({ id }) => id)).toEqual(cancelled)
  const told = new Set(failed.all.map(({ id }) => id))
  for (const id of cancelled) expect(told.has(id)).toBe(answers[id] !== 'cancelled')
  for (const { cause } of failed.all) expect(cause).toBe('cancelled')
  expect(acked.all.length + cancelled.length).toBe(count)
})

test('G4 a run that is longer than the consumer’s timeoutMs: its signal says TIMEOUT, and it is retried as the strategy says', async ({
  db,
}) => {
  const bugle = db.bugle()
  const timeouts = db.collect(bugle, 'job:timeout')
  const retrying = db.collect(bugle, 'job:retrying')
  const acked = db.collect(bugle, 'job:acked')
  const reasons: unknown[] = []
  const errors: Error[] = []
  await bugle.consume(
    'q',
    async (job, ctx) => {
      if (job.attempt === 2) {
        expect(ctx.signal.aborted).toBe(false)
        return
      }
      reasons.push(await aborted(ctx))
      throw new Error('its own words')
    },
    {
      timeoutMs: 60,
      retryStrategy: (_job, error) => {
        errors.push(error)
        return { delayMs: 0 }
      },
    },
  )
  const id = await bugle.put('q', 1)
  expect(await timeouts.next()).toMatchObject({ queue: 'q', id, attempt: 1, timeoutMs: 60 })
  expect(await retrying.next()).toMatchObject({ id, attempt: 1, error: { code: 'TIMEOUT' } })
  expect(await acked.next()).toMatchObject({ id, attempt: 2 })
  expect(reasons).toMatchObject([{ name: 'BugleError', code: 'TIMEOUT' }])
  expect(errors).toMatchObject([{ code: 'TIMEOUT' }])
  expect(await db.jobs()).toEqual([])
})

test('G4 a timeout in the last attempt: failed, cause exhausted, and the row says TIMEOUT', async ({ db }) => {
  const bugle = db.bugle()
  const failed = db.collect(bugle, 'job:failed')
  const consumer = await bugle.consume(
    'q',
    async (_job, ctx) => {
      throw await aborted(ctx)
    },
    { timeoutMs: 50, retryStrategy: false },
  )
  const id = await bugle.put('q', 1)
  expect(await failed.next()).toMatchObject({ id, cause: 'exhausted', error: { name: 'BugleError', code: 'TIMEOUT' } })
  expect(await db.jobs()).toMatchObject([
    { state: 'failed', attempt: 1, last_error: { name: 'BugleError', code: 'TIMEOUT', failedBy: 'exhausted' } },
  ])
  expect(await consumer.stop()).toMatchObject({ completed: 0, failed: 1, interrupted: 0 })
})

test('G4 a job’s own timeoutMs overrides the consumer’s, whether it is shorter or longer, also where SQL put it', async ({
  db,
  gate,
}) => {
  const bugle = db.bugle()
  const timeouts = db.collect(bugle, 'job:timeout')
  const end = gate()
  const signals = new Map<unknown, AbortSignal>()
  const consumer = await bugle.consume(
    'q',
    async (job, ctx) => {
      signals.set(job.payload, ctx.signal)
      await Promise.race([aborted(ctx), end.promise])
    },
    { timeoutMs: 300, retryStrategy: later },
  )
  const longer = await bugle.put('q', 'longer', { timeoutMs: 3_600_000 })
  await bugle.put('q', 'the consumer’s')
  await bugle.put('q', 'shorter', { timeoutMs: 50 })
  await db.sql.unsafe(`insert into ${db.s}.job (queue, payload, timeout_ms) values ('q', '"by SQL"', 50)`)
  const told = [await timeouts.next(), await timeouts.next(), await timeouts.next()]
  expect(told.map(({ timeoutMs }) => timeoutMs)).toEqual([50, 50, 300])
  expect(signals.get('longer')?.aborted).toBe(false)
  end.resolve()
  await consumer.idle()
  expect((await db.jobs()).map(({ id }) => id)).not.toContain(longer)
  expect(await db.jobs()).toHaveLength(3)
})

test('G4 a job has its own timeoutMs where the consumer has none', async ({ db }) => {
  const bugle = db.bugle()
  const failed = db.collect(bugle, 'job:failed')
  await bugle.consume(
    'q',
    async (_job, ctx) => {
      throw await aborted(ctx)
    },
    { retryStrategy: false },
  )
  await bugle.put('q', 1, { timeoutMs: 50 })
  expect((await failed.next()).error).toMatchObject({ code: 'TIMEOUT' })
})

test('G4 a run that has timed out holds its slot until its handler returns, and is told as stuck', async ({
  db,
  gate,
}) => {
  const bugle = db.bugle()
  const timeouts = db.collect(bugle, 'job:timeout')
  const stuck = db.collect(bugle, 'job:stuck')
  const retrying = db.collect(bugle, 'job:retrying')
  const end = gate()
  const seen: unknown[] = []
  const consumer = await bugle.consume(
    'q',
    async (job) => {
      seen.push(job.payload)
      if (job.payload === 'slow') await end.promise
    },
    { concurrency: 1, timeoutMs: 50, retryStrategy: later },
  )
  const id = await bugle.put('q', 'slow')
  await timeouts.next()
  const next = await bugle.put('q', 'next')
  const told = await stuck.next()
  expect(told).toMatchObject({ id, reason: 'TIMEOUT', ageMs: expect.any(Number) })
  expect(consumer.activeJobs).toBe(1)
  expect(seen).toEqual(['slow'])
  expect(await db.jobs()).toMatchObject([
    { id, state: 'running', attempt: 1 },
    { id: next, state: 'ready', attempt: 0 },
  ])
  end.resolve()
  // Its signal was never read, and it counts all the same.
  expect((await retrying.next()).error).toMatchObject({ code: 'TIMEOUT' })
  await consumer.idle()
  expect(seen).toEqual(['slow', 'next'])
  expect(timeouts.all).toHaveLength(1)
  expect(stuck.all).toHaveLength(1)
})

const afterTimeout: Record<string, () => unknown> = {
  'returns a result': () => ({ done: true }),
  'throws nothing at all': () => {
    throw undefined
  },
}
for (const [how, end] of Object.entries(afterTimeout)) {
  test(`G4 a run that has timed out is a failure with the code TIMEOUT, also if its handler ${how}`, async ({ db }) => {
    const bugle = db.bugle()
    const retrying = db.collect(bugle, 'job:retrying')
    const others = [db.collect(bugle, 'job:acked'), db.collect(bugle, 'job:failed'), db.collect(bugle, 'job:released')]
    const consumer = await bugle.consume(
      'q',
      async (_job, ctx) => {
        await aborted(ctx)
        return end()
      },
      { timeoutMs: 50, retryStrategy: later },
    )
    await bugle.put('q', 1)
    const { error, retryAt } = await retrying.next()
    expect(error).toMatchObject({ name: 'BugleError', code: 'TIMEOUT' })
    expect(retryAt.getTime()).toBeGreaterThan(Date.now() + 3_000_000)
    for (const { all } of others) expect(all).toEqual([])
    expect(await db.jobs()).toMatchObject([{ state: 'scheduled', attempt: 1, last_error: { code: 'TIMEOUT' } }])
    expect(await consumer.stop()).toMatchObject({ completed: 0, failed: 0, interrupted: 0 })
  })
}

const heardAfterTimeout = {
  reject: { end: () => reject('no'), event: 'job:failed', row: { state: 'failed', attempt: 1 } },
  release: { end: () => release({ delayMs: 60_000 }), event: 'job:released', row: { state: 'scheduled', attempt: 0 } },
  partial: {
    end: () => partial({ step: 1 }, { delayMs: 60_000 }),
    event: 'job:partial',
    row: { state: 'scheduled', attempt: 1 },
  },
  retry: {
    end: () => retry({ delayMs: 60_000, reason: 'its own' }),
    event: 'job:retrying',
    row: { state: 'scheduled', attempt: 1, last_error: { message: 'its own' } },
  },
} as const
for (const [name, { end, event, row }] of Object.entries(heardAfterTimeout)) {
  test(`G4 a handler that answers its timeout with ${name} is heard`, async ({ db }) => {
    const bugle = db.bugle()
    const ended = db.collect(bugle, event)
    const consumer = await bugle.consume(
      'q',
      async (_job, ctx) => {
        await aborted(ctx)
        return end()
      },
      { timeoutMs: 50 },
    )
    await bugle.put('q', 1)
    await ended.next()
    expect(await db.jobs()).toMatchObject([row])
    await consumer.stop()
  })
}

test('G4 an ack that was committed in the handler’s own transaction before the timeout wins', async ({ db }) => {
  const bugle = db.bugle()
  const acked = db.collect(bugle, 'job:acked')
  const failures = [db.collect(bugle, 'job:failed'), db.collect(bugle, 'job:retrying')]
  const consumer = await bugle.consume(
    'q',
    async (_job, ctx) => {
      await db.sql.begin((tx) => ctx.ack(tx))
      // Well past its time, and after a moment in which the signal may or may not be aborted.
      await new Promise((resolve) => setTimeout(resolve, 700))
    },
    { timeoutMs: 300 },
  )
  const id = await bugle.put('q', 1)
  expect(await acked.next()).toMatchObject({ id })
  for (const { all } of failures) expect(all).toEqual([])
  expect(await db.jobs()).toEqual([])
  expect(await consumer.stop()).toMatchObject({ completed: 1, failed: 0 })
})

test('G4 an ack that was rolled back, and then the timeout: a failure', async ({ db }) => {
  const bugle = db.bugle()
  const retrying = db.collect(bugle, 'job:retrying')
  await bugle.consume(
    'q',
    async (_job, ctx) => {
      await db.sql
        .begin(async (tx) => {
          await ctx.ack(tx)
          throw new Error('rolled back')
        })
        .catch(() => {})
      await aborted(ctx)
    },
    { timeoutMs: 300, retryStrategy: later },
  )
  await bugle.put('q', 1)
  expect((await retrying.next()).error).toMatchObject({ code: 'TIMEOUT' })
  expect(await db.jobs()).toMatchObject([{ state: 'scheduled', attempt: 1, last_error: { code: 'TIMEOUT' } }])
})

test('G4 the first reason stands: a stop after the timeout changes neither the signal’s reason nor the outcome', async ({
  db,
  gate,
}) => {
  const bugle = db.bugle()
  const timeouts = db.collect(bugle, 'job:timeout')
  const end = gate()
  const reason = signal<BugleError>()
  const consumer = await bugle.consume(
    'q',
    async (_job, ctx) => {
      await aborted(ctx)
      await end.promise
      reason.resolve(ctx.signal.reason)
      throw ctx.signal.reason
    },
    { timeoutMs: 50, retryStrategy: later },
  )
  await bugle.put('q', 1)
  await timeouts.next()
  const stopped = consumer.stop({ graceMs: 0, abortMs: 60_000 })
  await fence(db)
  end.resolve()
  expect(await stopped).toMatchObject({ completed: 0, failed: 0, interrupted: 0 })
  expect((await reason.promise).code).toBe('TIMEOUT')
  expect(await db.jobs()).toMatchObject([{ state: 'scheduled', attempt: 1, last_error: { code: 'TIMEOUT' } }])
})

test('G4 a timeoutMs that is no whole number of milliseconds from 1 up is refused', async ({ db }) => {
  const bugle = db.bugle()
  for (const timeoutMs of [0, -1, 1.5, Number.NaN, Infinity, '50']) {
    await expect(bugle.put('q', 1, { timeoutMs: timeoutMs as number })).rejects.toMatchObject({
      code: 'INVALID_OPTION',
    })
    await expect(bugle.consume('q', () => {}, { timeoutMs: timeoutMs as number })).rejects.toMatchObject({
      code: 'INVALID_OPTION',
    })
  }
  expect(await db.jobs()).toEqual([])
})

test('the signal: the same object each time, in middleware and handler, and none is made unless it is read', async ({
  db,
}) => {
  const Original = globalThis.AbortController
  let made = 0
  globalThis.AbortController = class extends Original {
    constructor() {
      super()
      made += 1
    }
  }
  onTestFinished(() => {
    globalThis.AbortController = Original
  })
  const bugle = db.bugle()
  const seen: AbortSignal[] = []
  const reads = await bugle.consume(
    'reads',
    (_job, ctx) => {
      const { signal: own } = ctx
      expect(own).toBeInstanceOf(AbortSignal)
      expect(own).toBe(ctx.signal)
      seen.push(own)
    },
    {
      middleware: [
        async (_job, ctx, next) => {
          await next()
          expect(ctx.signal).toBe(seen.at(-1))
        },
      ],
      concurrency: 1,
    },
  )
  const ignores = await bugle.consume('ignores', () => {}, { timeoutMs: 60_000 })
  made = 0
  await bugle.putMany('ignores', [...Array(20).keys()])
  await ignores.idle()
  expect(made).toBe(0)
  await bugle.putMany('reads', [...Array(5).keys()])
  await reads.idle()
  expect(made).toBe(5)
  expect(new Set(seen).size).toBe(5)
  expect((await reads.stop()).completed).toBe(5)
  // After a run its signal is of no use to anybody, and a stop does not abort it.
  expect(seen.every(({ aborted: isAborted }) => !isAborted)).toBe(true)
})
