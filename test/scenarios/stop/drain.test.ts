import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect } from 'vitest'
import { type Bugle, type Outcome, reject, retry, type StopReport } from '../../../src/index.js'
import { type JobRow, signal, type TestDatabase } from '../../support/database.js'
import { debugLines } from '../../support/debug-lines.js'
import { type Gate, test } from '../../support/gates.js'
import { type HeldClaims, holdAnswers } from '../../support/held-claims.js'
import { gate as heldRows } from '../../support/held-rows.js'
import { refusal } from '../../support/refusal.js'
import { aborted, fence, isPending, untilNoSession, withoutHeartbeat, workerRows } from '../../support/stopping.js'
import { until } from '../../support/until.js'

const nothing: StopReport = { completed: 0, failed: 0, interrupted: 0, released: 0, abandoned: [] }

for (const concurrency of [1, 8]) {
  test(`E11 drain with concurrency ${concurrency} runs what is there, resolves with the counts, and leaves nothing behind`, async ({
    db,
  }) => {
    const bugle = db.bugle()
    await bugle.putMany(
      'q',
      Array.from({ length: 60 }, (_, n) => n),
    )
    let running = 0
    let most = 0
    const report = await bugle.drain(
      'q',
      async (job) => {
        running += 1
        most = Math.max(most, running)
        await new Promise((resolve) => setImmediate(resolve))
        running -= 1
        if (Number(job.payload) % 10 === 0) return reject('a tenth')
      },
      { concurrency },
    )
    // What short handlers earn as look-ahead goes back where the machine stands still for a moment, and comes again.
    expect(report).toEqual({ ...nothing, completed: 54, failed: 6, released: expect.any(Number) })
    expect(most).toBeLessThanOrEqual(concurrency)
    if (concurrency === 1) expect(most).toBe(1)
    const left = await db.jobs()
    expect(left).toHaveLength(6)
    expect(left.every(({ state }) => state === 'failed')).toBe(true)
    expect(await workerRows(db)).toEqual([])
    await bugle.close()
    await untilNoSession(db)
  })
}

for (const prefetch of [0, 'earned'] as const) {
  test(`E11 drain with prefetch ${prefetch} leaves none that goes back without a delay, nor one that a handler puts at its end`, async ({
    db,
  }) => {
    const bugle = db.bugle()
    for (let round = 0; round < 3; round += 1) {
      await bugle.putMany(
        'q',
        Array.from({ length: 60 }, () => 3),
      )
      const report = await bugle.drain(
        'q',
        async (job) => {
          if (job.attempt < 3) return retry({ delayMs: 0 })
          if (Number(job.payload) > 0) await bugle.put('q', Number(job.payload) - 1)
        },
        { concurrency: 8, prefetch },
      )
      expect(report).toMatchObject({ completed: 240, failed: 0 })
      expect(await db.jobs()).toEqual([])
    }
  })
}

/** Of a job of two, whose run makes a job ready. */
interface LastRun {
  /** What it does once `goOn` is open. */
  readonly handler: (bugle: Bugle, goOn: Gate) => Promise<Outcome>
  readonly onFailed?: (bugle: Bugle, goOn: Gate) => Promise<void>
}

const lastRuns: Record<string, LastRun> = {
  'a job that goes back without a delay': {
    handler: async (_bugle, goOn) => {
      await goOn.promise
      return retry({ delayMs: 0 })
    },
  },
  'a job that a handler puts before its own fails': {
    handler: async (bugle, goOn) => {
      await goOn.promise
      await bugle.put('q', 'put')
      return reject('enough')
    },
  },
  'a job that a hook puts': {
    handler: async () => reject('enough'),
    onFailed: async (bugle, goOn) => {
      await goOn.promise
      await bugle.put('q', 'put')
    },
  },
}

/** When the run begins beside which the last claim sees nothing. */
const beginnings = ['before that is asked for', 'by the claim before it'] as const

for (const [what, { handler, onFailed }] of Object.entries(lastRuns)) {
  for (const beginning of beginnings) {
    test(`E11 drain leaves no job ready that was made so while a claim was under way, by a run that began ${beginning}: ${what}`, async ({
      db,
      gate,
    }) => {
      const claims = await holdAnswers(db.connectionString)
      const bugle = heldBugle(db, claims)
      const ends = [db.collect(bugle, 'job:retrying'), db.collect(bugle, 'job:failed')]
      const [goOn, freeSlot] = [gate(), gate()]
      if (beginning === 'before that is asked for') await db.bugle().put('q', 'is the last')
      const drained = bugle.drain(
        'q',
        async ({ payload, attempt }) => {
          if (payload === 'frees a slot') await freeSlot.promise
          if (payload === 'is the last' && attempt === 1) return handler(bugle, goOn)
        },
        { concurrency: 2, prefetch: 0, onFailed: () => onFailed?.(bugle, goOn) },
      )
      const first = await claims.next()
      if (beginning === 'by the claim before it') {
        await db.bugle().putMany('q', ['frees a slot', 'is the last'])
        first.answer()
        const full = await claims.next()
        full.answer()
        freeSlot.resolve()
      } else first.answer()
      const nothingReady = await claims.next()
      expect(await readyJobs(db)).toEqual([])
      goOn.resolve()
      await Promise.race(ends.map((end) => end.next()))
      await until(async () => (await readyJobs(db)).length > 0)
      claims.open()
      nothingReady.answer()
      await drained
      expect(await readyJobs(db)).toEqual([])
    })
  }
}

test('E11 drain waits for a hook of its last run, and runs what that puts', async ({ db, gate }) => {
  const bugle = db.bugle()
  await bugle.put('q', 'fails')
  const [begun, goOn] = [signal(), gate()]
  const drained = bugle.drain('q', ({ payload }) => (payload === 'fails' ? reject('enough') : undefined), {
    onFailed: async () => {
      begun.resolve()
      await goOn.promise
      await bugle.put('q', 'put')
    },
  })
  await begun.promise
  await fence(db)
  expect(await isPending(drained)).toBe(true)
  goOn.resolve()
  expect(await drained).toEqual({ ...nothing, completed: 1, failed: 1 })
  expect(await readyJobs(db)).toEqual([])
})

test("E11 until: 'scheduled' runs a job that becomes ready after a claim saw nothing ready, and before the look at what is scheduled", async ({
  db,
}) => {
  const claims = await holdAnswers(db.connectionString)
  const bugle = heldBugle(db, claims)
  const id = await db.bugle().put('q', 1, { delayMs: 3_600_000 })
  const drained = bugle.drain('q', () => {}, { until: 'scheduled' })
  const first = await claims.next()
  first.answer()
  const nothingReady = await claims.next()
  await db.sql.unsafe(`update ${db.s}.job set state = 'ready', run_at = now() where id = $1`, [id])
  claims.open()
  nothingReady.answer()
  expect(await drained).toEqual({ ...nothing, completed: 1 })
  expect(await db.jobs()).toEqual([])
})

test('E11 drain runs a due job that its own promotion has made ready after a claim saw nothing ready, and before its answer', async ({
  db,
}) => {
  const promotions = debugLines('bugle:due')
  const claims = await holdAnswers(db.connectionString)
  const bugle = heldBugle(db, claims)
  const [, locked] = await db.bugle().putMany('q', ['free', 'locked'], { delayMs: 3_600_000 })
  await db.sql.unsafe(`update ${db.s}.job set run_at = now() - interval '1 s'`)
  const promotion = await heldRows(db, 'update', "old.state = 'scheduled'")
  const holder = db.connect()
  await holder`begin`
  await holder.unsafe(`select from ${db.s}.job where id = $1 for update`, [locked ?? ''])
  const drained = bugle.drain('q', () => {})
  const first = await claims.next()
  first.answer()
  const nothingReady = await claims.next()
  await promotion.isWaitedFor()
  await promotion.open()
  // What is overdue still is tried again later, so no promotion is in flight when the claim is answered.
  while (!promotions.some((line) => line.includes('1 due jobs are ready'))) await nextTurn()
  claims.open()
  nothingReady.answer()
  expect(await drained).toEqual({ ...nothing, completed: 1 })
  expect(await db.jobs()).toMatchObject([{ payload: 'locked', state: 'scheduled' }])
})

/** Whose claims are held. It hears of nothing: it claims when its drain wants to see the queue empty, or a slot is free. */
function heldBugle(db: TestDatabase, claims: HeldClaims): Bugle {
  const bugle = db.bugle({ connectionString: claims.connectionString, listen: false, ...withoutHeartbeat })
  claims.hold(bugle, 'q')
  return bugle
}

async function readyJobs(db: TestDatabase): Promise<JobRow[]> {
  return (await db.jobs()).filter(({ state }) => state === 'ready')
}

test('E11 drain reaches its concurrency', async ({ db }) => {
  const bugle = db.bugle()
  await bugle.putMany('q', [...Array(16).keys()])
  let running = 0
  let reached = signal()
  const report = await bugle.drain(
    'q',
    async () => {
      running += 1
      if (running === 8) {
        reached.resolve()
        reached = signal()
        running = 0
      } else await reached.promise
    },
    { concurrency: 8 },
  )
  expect(report).toEqual({ ...nothing, completed: 16 })
})

test('E11 drain of an empty queue resolves with zeros', async ({ db }) => {
  const bugle = db.bugle()
  for (const until of ['ready', 'scheduled', undefined] as const) {
    const options = until === undefined ? {} : { until }
    expect(await bugle.drain('q', () => expect.unreachable(), options)).toEqual(nothing)
    expect(await workerRows(db)).toEqual([])
  }
})

test('E11 jobs that handlers put meanwhile are run too', async ({ db }) => {
  const bugle = db.bugle()
  await bugle.put('q', 5)
  const seen: unknown[] = []
  const report = await bugle.drain('q', async (job, ctx) => {
    seen.push(job.payload)
    if (Number(job.payload) > 0) await ctx.bugle.put('q', Number(job.payload) - 1)
  })
  expect(seen).toEqual([5, 4, 3, 2, 1, 0])
  expect(report).toEqual({ ...nothing, completed: 6 })
  expect(await db.jobs()).toEqual([])
})

test("E11 until: 'ready' leaves scheduled jobs, and what is to be retried later", async ({ db }) => {
  const bugle = db.bugle()
  await bugle.put('q', 'scheduled', { delayMs: 3_600_000 })
  await bugle.putMany('q', ['works', 'fails'])
  const report = await bugle.drain(
    'q',
    (job) => {
      if (job.payload === 'fails') throw new Error('later')
    },
    { until: 'ready', retryStrategy: { retries: 3, delaysMs: 3_600_000 } },
  )
  expect(report).toEqual({ ...nothing, completed: 1 })
  expect(await db.jobs()).toMatchObject([
    { payload: 'scheduled', state: 'scheduled', attempt: 0 },
    { payload: 'fails', state: 'scheduled', attempt: 1 },
  ])
})

test("E11 until: 'ready' runs what is retried at once, until it has failed", async ({ db }) => {
  const bugle = db.bugle()
  await bugle.put('q', 'fails')
  let runs = 0
  const report = await bugle.drain(
    'q',
    () => {
      runs += 1
      throw new Error('again')
    },
    { retryStrategy: { retries: 2 } },
  )
  expect(runs).toBe(3)
  expect(report).toEqual({ ...nothing, failed: 1 })
  expect(await db.jobs()).toMatchObject([{ state: 'failed', attempt: 3 }])
})

test("E11 until: 'scheduled' waits for scheduled and retried jobs as well", async ({ db }) => {
  const bugle = db.bugle()
  await bugle.put('q', 'scheduled', { delayMs: 400 })
  await bugle.putMany('q', ['retried', 'fails'])
  const seen: string[] = []
  const report = await bugle.drain(
    'q',
    (job) => {
      seen.push(`${job.payload} ${job.attempt}`)
      if (job.payload === 'retried' && job.attempt === 1) return retry({ delayMs: 700 })
      if (job.payload === 'fails') throw new Error('each time')
    },
    { until: 'scheduled', retryStrategy: { retries: 1, delaysMs: 100 } },
  )
  expect(seen.sort()).toEqual(['fails 1', 'fails 2', 'retried 1', 'retried 2', 'scheduled 1'])
  expect(report).toEqual({ ...nothing, completed: 2, failed: 1 })
  expect(await db.jobs()).toMatchObject([{ payload: 'fails', state: 'failed' }])
})

test("E11 until: 'scheduled' goes on when a scheduled job puts a further scheduled one", async ({ db }) => {
  const bugle = db.bugle()
  await bugle.put('q', 2, { delayMs: 150 })
  const seen: unknown[] = []
  const report = await bugle.drain(
    'q',
    async (job, ctx) => {
      seen.push(job.payload)
      if (Number(job.payload) > 0) await ctx.bugle.put('q', Number(job.payload) - 1, { delayMs: 150 })
    },
    { until: 'scheduled' },
  )
  expect(seen).toEqual([2, 1, 0])
  expect(report).toEqual({ ...nothing, completed: 3 })
})

// Nobody tells of it: it is seen when the queue is next looked at, within half a minute. CI runs it.
test.runIf(process.env.BUGLE_TEST_SLOW)(
  "E11 until: 'scheduled' ends when the last scheduled job is cancelled",
  async ({ db }) => {
    const bugle = db.bugle()
    const id = await bugle.put('q', 1, { delayMs: 3_600_000 })
    const drained = bugle.drain('q', () => {}, { until: 'scheduled' })
    await until(async () => (await workerRows(db)).length > 0)
    await fence(db)
    expect(await isPending(drained)).toBe(true)
    await bugle.cancel(id)
    // It is looked at again at the latest when the due timer does.
    expect(await drained).toEqual(nothing)
  },
  45_000,
)

test('E11 a row that somebody has locked is ready all the same: drain waits for it', async ({ db }) => {
  const bugle = db.bugle()
  const [first] = await bugle.putMany('q', ['locked', 'free'])
  const session = db.connect()
  await session.unsafe(`begin; select from ${db.s}.job where id = ${first} for update`)
  const freeRan = signal()
  const seen: unknown[] = []
  const drained = bugle.drain('q', (job) => {
    seen.push(job.payload)
    if (job.payload === 'free') freeRan.resolve()
  })
  await freeRan.promise
  await fence(db)
  expect(await isPending(drained)).toBe(true)
  await session.unsafe('rollback')
  expect(await drained).toEqual({ ...nothing, completed: 2 })
  expect(seen).toEqual(['free', 'locked'])
})

test('E11 jobs that another consumer runs are not waited for', async ({ db, gate }) => {
  const other = db.bugle()
  const begun = signal()
  const end = gate()
  const consumer = await other.consume(
    'q',
    async () => {
      begun.resolve()
      await end.promise
    },
    { concurrency: 1 },
  )
  await other.put('q', 'theirs')
  await begun.promise
  const bugle = db.bugle()
  await bugle.put('q', 'ours')
  expect(await bugle.drain('q', () => {})).toEqual({ ...nothing, completed: 1 })
  expect(await db.jobs()).toMatchObject([{ payload: 'theirs', state: 'running' }])
  end.resolve()
  await consumer.stop()
})

test('E11 drain of some kinds ends though jobs of other kinds are ready', async ({ db }) => {
  const bugle = db.bugle()
  await bugle.put('q', 1, { kind: 'ours' })
  await bugle.put('q', 2, { kind: 'theirs' })
  await bugle.put('q', 3)
  for (const until of ['ready', 'scheduled'] as const) {
    const seen: unknown[] = []
    await bugle.drain('q', { ours: (job) => void seen.push(job.payload) }, { until })
    expect(seen).toEqual(until === 'ready' ? [1] : [])
  }
  expect(await db.jobs()).toMatchObject([
    { payload: 2, state: 'ready' },
    { payload: 3, state: 'ready' },
  ])
})

test("E11 until: 'scheduled' of some kinds ends though jobs of other kinds are scheduled", { timeout: 15_000 }, async ({
  db,
}) => {
  const bugle = db.bugle()
  await bugle.put('q', 1, { kind: 'ours', delayMs: 100 })
  await bugle.put('q', 2, { kind: 'theirs', delayMs: 3_600_000 })
  expect(await bugle.drain('q', { ours: () => {} }, { until: 'scheduled' })).toEqual({ ...nothing, completed: 1 })
  expect(await db.jobs()).toMatchObject([{ payload: 2, state: 'scheduled' }])
})

test('E11 drain without some flags ends though jobs with them are ready', async ({ db }) => {
  const bugle = db.bugle()
  await bugle.put('q', 1)
  await bugle.put('q', 2, { flags: ['gpu'] })
  expect(await bugle.drain('q', () => {}, { withoutFlags: ['gpu'] })).toEqual({ ...nothing, completed: 1 })
  expect(await db.jobs()).toMatchObject([{ payload: 2, state: 'ready' }])
})

for (const until of ['ready', 'scheduled'] as const) {
  test(`E11 a paused queue ends a drain until '${until}' at once`, async ({ db }) => {
    const bugle = db.bugle()
    await bugle.put('q', 1)
    await bugle.put('q', 2, { delayMs: 100 })
    await bugle.pause('q')
    expect(await bugle.drain('q', () => expect.unreachable(), { until })).toEqual(nothing)
    expect(await db.jobs()).toMatchObject([{ attempt: 0 }, { attempt: 0 }])
  })
}

test('E11 a queue that is paused while it is drained ends the drain, after what runs', async ({ db, gate }) => {
  const bugle = db.bugle()
  await bugle.putMany('q', [1, 2, 3])
  const begun = signal()
  const end = gate()
  const drained = bugle.drain(
    'q',
    async () => {
      begun.resolve()
      await end.promise
    },
    { concurrency: 1 },
  )
  await begun.promise
  await bugle.pause('q')
  end.resolve()
  expect(await drained).toEqual({ ...nothing, completed: 1 })
  expect(await db.jobs()).toMatchObject([{ state: 'ready' }, { state: 'ready' }])
})

test('E11 drain of a queue that this instance consumes, or drains, is ALREADY_CONSUMING; afterwards it can be consumed', async ({
  db,
  gate,
}) => {
  const bugle = db.bugle()
  const consumer = await bugle.consume('q', () => {})
  expect((await refusal(() => bugle.drain('q', () => {}))).code).toBe('ALREADY_CONSUMING')
  await consumer.stop()

  const begun = signal()
  const end = gate()
  await bugle.put('q', 1)
  const drained = bugle.drain('q', async () => {
    begun.resolve()
    await end.promise
  })
  await begun.promise
  expect((await refusal(() => bugle.drain('q', () => {}))).code).toBe('ALREADY_CONSUMING')
  expect((await refusal(() => bugle.consume('q', () => {}))).code).toBe('ALREADY_CONSUMING')
  end.resolve()
  expect(await drained).toEqual({ ...nothing, completed: 1 })

  const ran = signal()
  await bugle.consume('q', () => ran.resolve())
  await bugle.put('q', 2)
  await ran.promise
})

test('E11 what drain does not know is refused', async ({ db }) => {
  const bugle = db.bugle()
  const options = [{ until: 'empty' }, { until: null }, { forever: true }, { concurrency: 0 }]
  for (const given of options) {
    expect((await refusal(() => bugle.drain('q', () => {}, given as never))).code).toBe('INVALID_OPTION')
  }
  expect((await refusal(() => bugle.drain('', () => {}))).code).toBe('INVALID_QUEUE')
  expect((await refusal(() => bugle.consume('q', () => {}, { until: 'ready' } as never))).code).toBe('INVALID_OPTION')
  await bugle.close()
  expect((await refusal(() => bugle.drain('q', () => {}))).code).toBe('CLOSED')
})

test('E11 the option `signal` stops a drain with its own times: what ran is interrupted, the rest stays', async ({
  db,
}) => {
  const bugle = db.bugle()
  await bugle.putMany('q', [1, 2])
  const started = db.collect(bugle, 'consumer:started')
  const controller = new AbortController()
  const begun = signal()
  const drained = bugle.drain(
    'q',
    async (_job, ctx) => {
      begun.resolve()
      throw await aborted(ctx)
    },
    { concurrency: 1, signal: controller.signal, graceMs: 0, abortMs: 30_000 },
  )
  await begun.promise
  // Until its start is over an abort would be a refusal.
  await started.next()
  controller.abort()
  expect(await drained).toEqual({ ...nothing, interrupted: 1 })
  expect(await db.jobs()).toMatchObject([
    { state: 'ready', attempt: 0 },
    { state: 'ready', attempt: 0 },
  ])
})

test('E11 the option `signal` ends a drain that waits for what is scheduled, and one that was aborted before refuses', async ({
  db,
}) => {
  const bugle = db.bugle()
  await bugle.put('q', 1, { delayMs: 3_600_000 })
  const controller = new AbortController()
  const drained = bugle.drain('q', () => {}, { until: 'scheduled', signal: controller.signal })
  await until(async () => (await workerRows(db)).length > 0)
  await fence(db)
  controller.abort()
  expect(await drained).toEqual(nothing)
  await expect(bugle.drain('q', () => {}, { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow('enough')
  expect(await workerRows(db)).toEqual([])
})

test('E11 close ends a drain', async ({ db }) => {
  const bugle = db.bugle()
  const started = db.collect(bugle, 'consumer:started')
  await bugle.putMany('q', [1, 2])
  const begun = signal()
  const drained = bugle.drain(
    'q',
    async (_job, ctx) => {
      begun.resolve()
      throw await aborted(ctx)
    },
    { concurrency: 1 },
  )
  await begun.promise
  await started.next()
  const closed = bugle.close({ graceMs: 0, abortMs: 30_000 })
  expect(await drained).toEqual({ ...nothing, interrupted: 1 })
  expect(await db.jobs()).toMatchObject([
    { state: 'ready', attempt: 0 },
    { state: 'ready', attempt: 0 },
  ])
  await closed
})

test('E11 two processes drain one queue: each job once, and both end', async ({ db }) => {
  const seen: unknown[] = []
  const put = db.bugle()
  await put.putMany('q', [...Array(200).keys()])
  const reports = await Promise.all(
    [1, 2].map(() => db.bugle().drain('q', (job) => void seen.push(job.payload), { concurrency: 4 })),
  )
  expect(reports.reduce((sum, { completed }) => sum + completed, 0)).toBe(200)
  expect(new Set(seen).size).toBe(200)
  expect(seen).toHaveLength(200)
  expect(await db.jobs()).toEqual([])
})

test('E11 with listen: false a drain does as well', async ({ db }) => {
  const bugle = db.bugle({ listen: false })
  await bugle.put('q', 1)
  await bugle.put('q', 2, { delayMs: 200 })
  expect(await bugle.drain('q', () => {}, { until: 'scheduled' })).toEqual({ ...nothing, completed: 2 })
})
