import { expect } from 'vitest'
import { type Bugle, type Job, type PutOptions, partial, release, retry } from '../../../src/index.js'
import { signal, type TestDatabase } from '../../support/database.js'
import { test } from '../../support/gates.js'
import { refusal } from '../../support/refusal.js'
import { fullRows } from '../../support/rows.js'
import { untilAsleep, watchNotifications } from '../../support/sleepers.js'
import { until } from '../../support/until.js'

type KeyMode = NonNullable<PutOptions['keyMode']>
const keyModes: readonly KeyMode[] = ['replace', 'keep', 'reject']

const broken = (): never => {
  throw new Error('broken')
}

test('H5 replace: the waiting job becomes what was put, under its id, and with all its attempts', async ({ db }) => {
  const bugle = db.bugle()
  const old = { kind: 'old', priority: 1, flags: ['slow'], maxAttempts: 9, key: 'ada' }
  const id = await bugle.put('q', 'first', old)
  // One run that got half way, one that failed, and a crash.
  const ends = [() => partial('half', { delayMs: 0 }), () => retry({ delayMs: 60_000 })]
  const consumer = await bugle.consume('q', ({ attempt }) => ends[attempt - 1]?.())
  await consumer.idle()
  await consumer.stop()
  await db.sql.unsafe(`update ${db.s}.job set crashes = 2, timeout_ms = 5`)
  const [before] = await fullRows(db)
  expect(before).toMatchObject({ state: 'scheduled', attempt: 2, progress: 'half', last_error: {} })

  const runAt = new Date(Date.now() + 3_600_000)
  expect(await bugle.put('q', 'second', { key: 'ada', kind: 'new', priority: -3, runAt, maxAttempts: 2 })).toBe(id)
  const fresh = { id, attempt: 0, crashes: 0, progress: null, last_error: null, timeout_ms: null, worker_id: null }
  expect(await fullRows(db)).toMatchObject([
    {
      ...fresh,
      payload: 'second',
      state: 'scheduled',
      run_at: runAt,
      kind: 'new',
      priority: -3,
      flags: null,
      max_attempts: 2,
      // The fence goes on growing.
      lease: before?.lease,
    },
  ])
  // What is not given is as in a new job: ready, of no kind, without a limit of its own.
  expect(await bugle.put('q', 'third', { key: 'ada', keyMode: 'replace', flags: ['eu'] })).toBe(id)
  expect(await fullRows(db)).toMatchObject([
    { ...fresh, payload: 'third', state: 'ready', kind: null, priority: 0, flags: ['eu'], max_attempts: null },
  ])
  const seen: unknown[] = []
  const next = await bugle.consume('q', (job) => void seen.push([job.id, job.payload, job.attempt, job.key]))
  await next.idle()
  expect(seen).toEqual([[id, 'third', 1, 'ada']])
})

test('H5 keep: the waiting job stays as it is, ready or scheduled, and its id is the answer', async ({ db }) => {
  const bugle = db.bugle()
  const ready = await bugle.put('q', 'first', { key: 'ready', keyMode: 'keep', kind: 'a', priority: 4, flags: ['eu'] })
  const scheduled = await bugle.put('q', 'first', { key: 'scheduled', keyMode: 'keep', delayMs: 60_000 })
  const before = await fullRows(db)
  const other = { kind: 'b', priority: 9, flags: ['us'], maxAttempts: 1 }
  expect(await bugle.put('q', 'second', { key: 'ready', keyMode: 'keep', delayMs: 5, ...other })).toBe(ready)
  expect(await bugle.put('q', 'second', { key: 'scheduled', keyMode: 'keep', ...other })).toBe(scheduled)
  expect(await fullRows(db)).toEqual(before)
})

test('H5 reject: KEY_TAKEN with nothing written; in a transaction, which goes on', async ({ db }) => {
  const bugle = db.bugle()
  const id = await bugle.put('q', 'first', { key: 'ada', keyMode: 'reject' })
  const scheduled = await bugle.put('q', 'later', { key: 'bob', keyMode: 'reject', delayMs: 60_000 })
  const before = await fullRows(db)
  for (const key of ['ada', 'bob']) {
    expect(await refusal(() => bugle.put('q', 'second', { key, keyMode: 'reject' }))).toMatchObject({
      code: 'KEY_TAKEN',
      message: expect.stringContaining(`"${key}"`),
    })
  }
  const inTransaction: string[] = []
  await db.sql.begin(async (tx) => {
    expect(await refusal(() => bugle.put('q', 2, { key: 'ada', keyMode: 'reject', tx }))).toMatchObject({
      code: 'KEY_TAKEN',
    })
    inTransaction.push(await bugle.put('q', 3, { key: 'eve', keyMode: 'reject', tx }))
    // Also against what the transaction itself has put.
    expect(await refusal(() => bugle.put('q', 4, { key: 'eve', keyMode: 'reject', tx }))).toMatchObject({
      code: 'KEY_TAKEN',
    })
  })
  const rows = await fullRows(db)
  expect(rows.slice(0, 2)).toEqual(before)
  expect(rows.map((row) => row.id)).toEqual([id, scheduled, ...inTransaction])
  // Once it has run, its key is free.
  const consumer = await bugle.consume('q', () => {})
  await consumer.idle()
  expect(Number(await bugle.put('q', 'again', { key: 'ada', keyMode: 'reject' }))).toBeGreaterThan(Number(id))
})

test('H5 a key belongs to its queue, and any text will do', async ({ db }) => {
  const bugle = db.bugle()
  const keys = ['ada', 'Ada', 'ada ', `it's "quoted"\\`, '🎺', 'x'.repeat(255)]
  const ids = new Set<string>()
  for (const queue of ['q', 'Q']) {
    for (const key of keys) ids.add(await bugle.put(queue, key, { key, keyMode: 'reject' }))
  }
  expect(ids.size).toBe(12)
  for (const key of keys) expect(ids).toContain(await bugle.put('q', 'again', { key }))
  expect(await bugle.putMany('q', keys, (key) => ({ key: key as string }))).toEqual([...ids].slice(0, 6))
  expect((await fullRows(db)).map(({ queue, key, payload }) => [queue, key, payload])).toEqual([
    ...keys.map((key) => ['q', key, key]),
    ...keys.map((key) => ['Q', key, key]),
  ])
})

for (const keyMode of keyModes) {
  test(`H5 ${keyMode}: a running job does not wait, so its key is free; so is a failed one's`, async ({ db, gate }) => {
    const bugle = db.bugle()
    const begun = signal()
    const blocked = gate()
    const consumer = await bugle.consume(
      'q',
      async () => {
        begun.resolve()
        await blocked.promise
        broken()
      },
      { concurrency: 1, retryStrategy: false },
    )
    const running = await bugle.put('q', 'running', { key: 'ada', keyMode })
    await begun.promise
    const waiting = await bugle.put('q', 'waiting', { key: 'ada', keyMode })
    expect(waiting).not.toBe(running)
    const rows = [
      { id: running, payload: 'running', state: 'running', key: 'ada' },
      { id: waiting, payload: 'waiting', state: 'ready', key: 'ada' },
    ]
    expect(await fullRows(db)).toMatchObject(rows)
    blocked.resolve()
    await consumer.idle()
    expect(await fullRows(db)).toMatchObject(rows.map((row) => ({ ...row, state: 'failed' })))
    const third = await bugle.put('q', 'third', { key: 'ada', keyMode, delayMs: 60_000 })
    expect([running, waiting]).not.toContain(third)
  })
}

/** One batch: which of them has which key. */
const batch: readonly [payload: string, key: string | null][] = [
  ['a1', 'a'],
  ['plain 1', null],
  ['a2', 'a'],
  ['waits 1', 'waits'],
  ['b1', 'b'],
  ['plain 2', null],
  ['waits 2', 'waits'],
  ['a3', 'a'],
]
const putBatch = (bugle: Bugle, keyMode: KeyMode, jobs = batch): Promise<string[]> =>
  bugle.putMany(
    'q',
    jobs.map(([payload]) => payload),
    (_, index) => {
      const key = jobs[index]?.[1] ?? null
      return key === null ? {} : { key, keyMode }
    },
  )

test('H5 putMany, replace: of the jobs of one key the last remains; ids come in the order of the payloads', async ({
  db,
}) => {
  const bugle = db.bugle()
  const waits = await bugle.put('q', 'waits 0', { key: 'waits' })
  const ids = await putBatch(bugle, 'replace')
  const [a, plain1, , , b, plain2] = ids
  expect(ids).toEqual([a, plain1, a, waits, b, plain2, waits, a])
  expect(new Set(ids).size).toBe(5)
  expect((await fullRows(db)).map(({ id, payload, key }) => [id, payload, key])).toEqual([
    [waits, 'waits 2', 'waits'],
    [plain1, 'plain 1', null],
    [b, 'b1', 'b'],
    [plain2, 'plain 2', null],
    [a, 'a3', 'a'],
  ])
  // Once more: every job with a key is replaced by itself, the others are new.
  const again = await putBatch(bugle, 'replace')
  expect(again).toEqual([a, again[1], a, waits, b, again[5], waits, a])
  expect(await fullRows(db)).toHaveLength(7)
})

test('H5 putMany, keep: of the jobs of one key the first remains; ids come in the order of the payloads', async ({
  db,
}) => {
  const bugle = db.bugle()
  const waits = await bugle.put('q', 'waits 0', { key: 'waits' })
  const ids = await putBatch(bugle, 'keep')
  const [a, plain1, , , b, plain2] = ids
  expect(ids).toEqual([a, plain1, a, waits, b, plain2, waits, a])
  expect((await fullRows(db)).map(({ id, payload, key }) => [id, payload, key])).toEqual([
    [waits, 'waits 0', 'waits'],
    [a, 'a1', 'a'],
    [plain1, 'plain 1', null],
    [b, 'b1', 'b'],
    [plain2, 'plain 2', null],
  ])
})

test('H5 putMany, reject: a key twice in the batch, or one that waits, is KEY_TAKEN with nothing written', async ({
  db,
}) => {
  const bugle = db.bugle()
  await bugle.put('q', 'waits 0', { key: 'waits' })
  const before = await fullRows(db)
  expect(await refusal(() => putBatch(bugle, 'reject', batch.slice(0, 3)))).toMatchObject({
    code: 'KEY_TAKEN',
    message: expect.stringMatching(/job 2 has the key "a" of one before it/),
  })
  expect(await refusal(() => putBatch(bugle, 'reject', batch.slice(2, 6)))).toMatchObject({ code: 'KEY_TAKEN' })
  expect(await fullRows(db)).toEqual(before)
  const fine: typeof batch = [
    ['x', 'x'],
    ['plain', null],
    ['y', 'y'],
  ]
  const ids = await putBatch(bugle, 'reject', fine)
  expect((await fullRows(db)).slice(1).map(({ id, payload }) => [id, payload])).toEqual(
    ids.map((id, index) => [id, fine[index]?.[0]]),
  )
})

const connections = 8

for (const keyMode of keyModes) {
  test(`H5 ${keyMode}: ${connections} puts of one key at once, 100 rounds: one waiting job each`, async ({ db }) => {
    // Half of the pool is for puts.
    const bugle = db.bugle({ poolSize: 2 * connections })
    for (let round = 0; round < 100; round += 1) {
      const key = `key ${round}`
      const answers = await Promise.allSettled(
        Array.from({ length: connections }, (_, n) => bugle.put('q', n, { key, keyMode })),
      )
      const ids = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []))
      const errors = answers.flatMap((answer) => (answer.status === 'rejected' ? [answer.reason.code] : []))
      expect(new Set(ids).size).toBe(1)
      expect(errors).toEqual(keyMode === 'reject' ? Array(connections - 1).fill('KEY_TAKEN') : [])
    }
    const rows = await fullRows(db)
    expect(new Set(rows.map(({ key }) => key)).size).toBe(100)
    expect(rows).toHaveLength(100)
    expect(await db.backends('')).toHaveLength(connections)
  })
}

for (const keyMode of ['replace', 'keep'] as const) {
  test(`H5 ${keyMode}: puts against a consumer that takes their jobs: each put is followed by a run of its job`, async ({
    db,
  }) => {
    const bugle = db.bugle({ poolSize: 12 })
    // Puts and runs in the order in which they begin in this process.
    let clock = 0
    const runs = new Map<string, { at: number; n: number }[]>()
    const consumer = await bugle.consume('q', ({ id, payload }) => {
      clock += 1
      runs.set(id, [...(runs.get(id) ?? []), { at: clock, n: payload as number }])
    })
    const puts: { id: string; at: number; n: number }[] = []
    await Promise.all(
      ['a', 'b', 'c', 'd'].map(async (key) => {
        for (let n = 0; n < 150; n += 1) {
          clock += 1
          const at = clock
          puts.push({ id: await bugle.put('q', n, { key, keyMode }), at, n })
        }
      }),
    )
    await consumer.idle()
    expect(await db.jobs()).toEqual([])
    const lost = puts.filter(({ id, at, n }) => {
      // A replaced job runs with what was put then, or later.
      return !runs.get(id)?.some((run) => run.at > at && (keyMode === 'keep' || run.n >= n))
    })
    expect(lost).toEqual([])
    expect([...runs.values()].every((all) => all.length === 1)).toBe(true)
  })
}

/** An instance whose server looks for deadlocks at once, and not after a second. */
async function quickDeadlocks(db: TestDatabase): Promise<Bugle> {
  const role = `role_${db.schema.slice(5)}`
  await db.sql.unsafe(`create role ${role} superuser login; alter role ${role} set deadlock_timeout = '10ms'`)
  const url = Object.assign(new URL(db.connectionString), { username: role })
  return db.bugle({ connectionString: url.href, poolSize: 2 * connections })
}

async function dropRole(db: TestDatabase, bugle: Bugle): Promise<void> {
  await bugle.close()
  await db.sql.unsafe(`drop role role_${db.schema.slice(5)}`)
}

for (const keyMode of keyModes) {
  test(`H5 ${keyMode}: two batches with the same keys in opposite orders, deadlocked for certain`, async ({ db }) => {
    const bugle = await quickDeadlocks(db)
    const stranger = db.connect()
    await stranger.unsafe(`begin; insert into ${db.s}.job (queue, key) values ('q', 'middle')`)
    const keys = ['left', 'middle', 'right']
    const put = (order: string[]) =>
      bugle.putMany('q', order, (key) => ({ key: key as string, keyMode })).catch((error) => error)
    const putting = [put(keys), put(keys.toReversed())] as const
    // Each has its first key, and waits for the stranger's. Let go, one gets it, and wants what the other has.
    await untilBlocked(db, 2)
    await stranger.unsafe('rollback')
    const [first, second] = await Promise.all(putting)
    const rows = await fullRows(db)
    expect(rows.map(({ key }) => key).sort()).toEqual(keys)
    const idOf = (key: string) => rows.find((row) => row.key === key)?.id
    const expected = [keys.map(idOf), keys.toReversed().map(idOf)]
    if (keyMode === 'reject') {
      const answers = [first, second]
      expect(answers.filter(Array.isArray)).toHaveLength(1)
      expect(answers.find((answer) => !Array.isArray(answer))).toMatchObject({ code: 'KEY_TAKEN' })
    } else {
      expect([first, second]).toEqual(expected)
    }
    await dropRole(db, bugle)
  })
}

test('H5 many batches with the same keys in opposite orders, all at once: all succeed', async ({ db }) => {
  const bugle = await quickDeadlocks(db)
  const keys = Array.from({ length: 60 }, (_, n) => `key ${n}`)
  for (const keyMode of ['replace', 'keep'] as const) {
    for (let round = 0; round < 5; round += 1) {
      const answers = await Promise.all(
        Array.from({ length: 4 }, (_, n) =>
          bugle.putMany('q', n % 2 ? keys : keys.toReversed(), (key) => ({
            key: `${round} ${keyMode} ${key}`,
            keyMode,
          })),
        ),
      )
      expect(answers[1]).toEqual(answers[3])
      for (const n of [0, 2]) expect(answers[n]?.toReversed()).toEqual(answers[1])
    }
  }
  expect(await fullRows(db)).toHaveLength(600)
  await dropRole(db, bugle)
})

for (const keyMode of ['keep', 'replace'] as const) {
  for (const end of ['commits', 'rolls back'] as const) {
    test(`H5 ${keyMode} in an open transaction holds the waiting job back until it ${end}`, async ({ db }) => {
      await db.sql.unsafe(`create table ${db.s}.letter (text text)`)
      const bugle = db.bugle()
      const id = await bugle.put('q', 'first', { key: 'ada' })
      const order: unknown[] = []
      const rollback = new Error('no')
      const transaction = db.connect().begin(async (tx) => {
        expect(await bugle.put('q', 'second', { key: 'ada', keyMode, tx })).toBe(id)
        await tx.unsafe(`insert into ${db.s}.letter values ('written with it')`)
        await bugle.consume('q', async (job) => {
          const letters = await db.sql.unsafe(`select text from ${db.s}.letter`)
          order.push([job.payload, letters.length])
          if (job.payload === 'marker') marked.resolve()
          else ran.resolve()
        })
        // Of a lower priority, and runs all the same; then once more, as a sleeper would be woken for it.
        for (const _ of [1, 2]) {
          marked = signal()
          await bugle.put('q', 'marker', { priority: -1 })
          await marked.promise
        }
        expect((await fullRows(db))[0]).toMatchObject({ id, payload: 'first', state: 'ready', attempt: 0 })
        order.push(end)
        if (end === 'rolls back') throw rollback
      })
      const ran = signal()
      let marked = signal()
      if (end === 'commits') await transaction
      else await expect(transaction).rejects.toBe(rollback)
      await ran.promise
      const payload = keyMode === 'replace' && end === 'commits' ? 'second' : 'first'
      expect(order).toEqual([['marker', 0], ['marker', 0], end, [payload, end === 'commits' ? 1 : 0]])
    })
  }
}

/** How a run ends whose job goes back to its queue. */
const backToQueue: Record<string, () => unknown> = {
  'a throw': broken,
  'retry()': () => retry({ delayMs: 60_000 }),
  'retry() at once': () => retry({ delayMs: 0 }),
  'release()': () => release({ delayMs: 60_000 }),
  'partial()': () => partial(1, { delayMs: 60_000 }),
}

for (const [what, end] of Object.entries(backToQueue)) {
  test(`H5 a job that goes back by ${what} while a newer has its key goes back without it; its batch is settled`, async ({
    db,
    gate,
  }) => {
    const bugle = db.bugle()
    const errors = db.collect(bugle, 'claim:error')
    const blocked = gate()
    const full = signal()
    let running = 0
    const consumer = await bugle.consume(
      'q',
      async ({ payload }) => {
        running += 1
        if (running === 4) full.resolve()
        if (running > 4) return release({ delayMs: 60_000 })
        await blocked.promise
        return payload === 'rejects' ? undefined : end()
      },
      { concurrency: 4, retryStrategy: { retries: 3, delaysMs: 60_000 }, keep: 'all' },
    )
    const [first, ...others] = await bugle.putMany('q', ['first', 'alone', 'no key', 'rejects'], (payload) =>
      payload === 'no key' ? {} : { key: payload as string },
    )
    await full.promise
    const newer = await bugle.put('q', 'newer', { key: 'first', delayMs: 30_000 })
    const stopped = consumer.stop()
    blocked.resolve()
    expect(await stopped).toMatchObject({ completed: 1, failed: 0 })
    expect(errors.all).toEqual([])
    const rows = await fullRows(db)
    expect(rows.map(({ id, key }) => [id, key])).toEqual([
      [first, null],
      [others[0], 'alone'],
      [others[1], null],
      [newer, 'first'],
    ])
    const state = what === 'retry() at once' ? 'ready' : 'scheduled'
    for (const row of rows.slice(0, 3)) expect(row).toMatchObject({ state, worker_id: null })
  })
}

test('H5 two running jobs of one key that both go back in one batch: one keeps the key', async ({ db, gate }) => {
  const bugle = db.bugle()
  const errors = db.collect(bugle, 'claim:error')
  const retrying = db.collect(bugle, 'job:retrying')
  const blocked = gate()
  const consumer = await bugle.consume(
    'q',
    async () => {
      begun.resolve()
      await blocked.promise
      return retry({ delayMs: 60_000 })
    },
    { concurrency: 5 },
  )
  let begun = signal()
  for (let n = 0; n < 5; n += 1) {
    begun = signal()
    await bugle.put('q', n, { key: 'ada' })
    await begun.promise
  }
  expect((await fullRows(db)).map(({ state, key }) => [state, key])).toEqual(Array(5).fill(['running', 'ada']))
  blocked.resolve()
  await consumer.idle()
  expect(retrying.all).toHaveLength(5)
  expect(errors.all).toEqual([])
  const rows = await fullRows(db)
  expect(rows.map(({ state }) => state)).toEqual(Array(5).fill('scheduled'))
  expect(rows.filter(({ key }) => key === 'ada')).toHaveLength(1)
})

for (const end of ['commit', 'rollback'] as const) {
  test(`H5 a job that goes back while a put of its key is in flight, which ends with a ${end}`, async ({
    db,
    gate,
  }) => {
    const bugle = db.bugle()
    const errors = db.collect(bugle, 'claim:error')
    const retrying = db.collect(bugle, 'job:retrying')
    const acked = db.collect(bugle, 'job:acked')
    const blocked = gate()
    const full = signal()
    let running = 0
    const consumer = await bugle.consume(
      'q',
      async ({ payload }) => {
        running += 1
        if (running === 2) full.resolve()
        await blocked.promise
        return payload === 'goes back' ? retry({ delayMs: 60_000 }) : undefined
      },
      { concurrency: 2, keep: 'all' },
    )
    const [id] = await bugle.putMany('q', ['goes back', 'beside it'], (payload) =>
      payload === 'goes back' ? { key: 'ada' } : {},
    )
    await full.promise
    const stranger = db.connect()
    await stranger.unsafe(
      `begin; insert into ${db.s}.job (queue, key, run_at) values ('q', 'ada', now() + interval '1 h')`,
    )
    blocked.resolve()
    await untilBlocked(db, 1)
    await stranger.unsafe(end)
    await Promise.all([retrying.next(), acked.next()])
    await consumer.idle()
    const waiting = (await fullRows(db)).map((row) => [row.id === id, row.state, row.key])
    expect(waiting).toEqual(
      end === 'commit'
        ? [
            [true, 'scheduled', null],
            [false, 'scheduled', 'ada'],
          ]
        : [[true, 'scheduled', 'ada']],
    )
    expect(errors.all).toEqual([])
  })
}

test('flags: a consumer leaves jobs that have one of its withoutFlags to a consumer that takes them', async ({
  db,
}) => {
  const first = db.bugle()
  const second = db.bugle()
  const seen = { first: [] as unknown[], second: [] as unknown[] }
  const flags: Record<string, string[]> = {
    none: [],
    gpu: ['gpu'],
    'gpu and eu': ['eu', 'gpu'],
    eu: ['eu'],
    GPU: ['GPU'],
    big: ['big'],
    quoted: ['a "b", {c}\\'],
  }
  const names = Object.keys(flags)
  await first.putMany('q', names, (name) => ({ flags: flags[name as string] ?? [] }))
  const small = await first.consume('q', (job) => void seen.first.push([job.payload, job.flags]), {
    concurrency: 1,
    withoutFlags: ['gpu', 'big', 'a "b", {c}\\'],
  })
  await small.idle()
  expect(seen.first).toEqual(['none', 'eu', 'GPU'].map((name) => [name, flags[name]]))
  expect((await fullRows(db)).map(({ payload, state, attempt }) => [payload, state, attempt])).toEqual(
    ['gpu', 'gpu and eu', 'big', 'quoted'].map((name) => [name, 'ready', 0]),
  )
  const large = await second.consume('q', (job) => void seen.second.push(job.payload), {
    concurrency: 1,
    withoutFlags: ['big'],
  })
  await large.idle()
  expect(seen.second).toEqual(['gpu', 'gpu and eu', 'quoted'])
  // Both asleep: a flagged job wakes, and reaches the one that takes it.
  await untilAsleep(db, 'q', 2)
  const acked = db.collect(second, 'job:acked')
  await first.put('q', 'at last', { flags: ['gpu'] })
  await acked.next()
  expect(seen.second.at(-1)).toBe('at last')
  expect(seen.first).toHaveLength(3)
  expect(await fullRows(db)).toMatchObject([{ payload: 'big', state: 'ready' }])
})

/** Changes of a waiting job by which a consumer that sleeps may have it. */
const changes: Record<string, (db: TestDatabase, bugle: Bugle) => Promise<unknown>> = {
  'a replace that takes the flag away': (_, bugle) => bugle.put('q', 'mine', { key: 'ada', kind: 'own' }),
  'a replace with another flag': (_, bugle) => bugle.put('q', 'mine', { key: 'ada', kind: 'own', flags: ['eu'] }),
  'an UPDATE of its flags': (db) =>
    db.sql.unsafe(`update ${db.s}.job set flags = '{eu}', payload = '"mine"' where key = 'ada'`),
  'an UPDATE that leaves it without flags': (db) =>
    db.sql.unsafe(`update ${db.s}.job set flags = null, payload = '"mine"' where key = 'ada'`),
  'a replace with another kind': (_, bugle) => bugle.put('q', 'mine', { key: 'kind', kind: 'own' }),
  'an UPDATE of its kind': (db) =>
    db.sql.unsafe(`update ${db.s}.job set kind = 'own', payload = '"mine"' where key = 'kind'`),
  'an UPDATE of its queue': (db) =>
    db.sql.unsafe(`update ${db.s}.job set queue = 'q', payload = '"mine"' where key = 'queue'`),
  'a replace that makes it ready': (_, bugle) => bugle.put('q', 'mine', { key: 'far', kind: 'own' }),
}

for (const [what, change] of Object.entries(changes)) {
  test(`flags: a consumer that sleeps is woken for a job that becomes its own by ${what}`, async ({ db }) => {
    const bugle = db.bugle()
    const ran = signal<unknown>()
    const consumer = await bugle.consume(
      'q',
      { own: (job: Job) => ran.resolve(job.payload) },
      { withoutFlags: ['gpu'] },
    )
    await bugle.put('q', 'flagged', { key: 'ada', kind: 'own', flags: ['gpu'] })
    await bugle.put('q', 'other', { key: 'kind', kind: 'other' })
    await bugle.put('other', 'other', { key: 'queue', kind: 'own' })
    await bugle.put('q', 'far', { key: 'far', kind: 'own', delayMs: 3_600_000 })
    await consumer.idle()
    await untilAsleep(db, 'q')
    const notified = await watchNotifications(db)
    await change(db, bugle)
    expect(await ran.promise).toBe('mine')
    expect(await notified()).toEqual(['q'])
    await consumer.idle()
    expect(await fullRows(db)).toHaveLength(3)
  })
}

test('flags: changes that make no waiting job anybody’s own notify nobody', async ({ db }) => {
  const bugle = db.bugle()
  const seen: unknown[] = []
  const consumer = await bugle.consume('q', (job) => void seen.push(job.payload), { withoutFlags: ['gpu'] })
  const id = await bugle.put('q', 'flagged', { key: 'ada', flags: ['gpu'] })
  await consumer.idle()
  await untilAsleep(db, 'q')
  const notified = await watchNotifications(db)
  await bugle.put('q', 'flagged again', { key: 'ada', flags: ['gpu'], priority: 5 })
  await bugle.put('q', 'kept', { key: 'ada', keyMode: 'keep' })
  await refusal(() => bugle.put('q', 'rejected', { key: 'ada', keyMode: 'reject' }))
  await db.sql.unsafe(`update ${db.s}.job set priority = 1, payload = '"by SQL"'`)
  expect(await notified()).toEqual([])
  await consumer.idle()
  expect(seen).toEqual([])
  expect(await fullRows(db)).toMatchObject([{ id, payload: 'by SQL', priority: 1, state: 'ready' }])
})

test('kinds: a map picks the handler by kind', async ({ db }) => {
  const bugle = db.bugle()
  const seen: unknown[] = []
  const handler = (name: string) => (job: Job) => void seen.push([name, job.kind, job.payload])
  const kinds = ['thumb', 'Thumb', 'with "quotes", {braces}\\', 'constructor', '🎺']
  const consumer = await bugle.consume('media', Object.fromEntries(kinds.map((kind) => [kind, handler(kind)])), {
    concurrency: 1,
  })
  await bugle.putMany('media', kinds, (kind) => ({ kind: kind as string }))
  await bugle.put('media', 'other', { kind: 'toString' })
  await consumer.idle()
  expect(seen).toEqual(kinds.map((kind) => [kind, kind, kind]))
  expect(await fullRows(db)).toMatchObject([{ kind: 'toString', state: 'ready', attempt: 0 }])
})

for (const concurrency of [1, 7]) {
  for (const by of ['a function', 'a map of kinds'] as const) {
    test(`priority: with ${concurrency} slots and ${by}, jobs start by priority, then id, across kinds`, async ({
      db,
    }) => {
      const bugle = db.bugle()
      const kinds = ['a', 'b', 'c']
      const jobs = Array.from({ length: 90 }, (_, n) => ({
        n,
        kind: kinds[(n * 5) % 3] ?? '',
        priority: [0, -32_768, 3, 32_767, -1, 3][(n * 7) % 6] ?? 0,
        // Some are for others, among them the first of all.
        flags: n % 10 === 3 ? ['gpu'] : [],
      }))
      const ids = await bugle.putMany('q', jobs, (_, index) => {
        const { kind = '', priority = 0, flags = [] } = jobs[index] ?? {}
        return { kind, priority, flags }
      })
      if (by === 'a map of kinds') await bugle.put('q', 'first of all', { kind: 'other', priority: 32_767 })
      const started: unknown[] = []
      const start = (job: Job): void => void started.push([job.id, job.kind, job.priority])
      const handlers = by === 'a function' ? start : { a: start, b: start, c: start }
      const consumer = await bugle.consume('q', handlers, { concurrency, withoutFlags: ['gpu'] })
      await consumer.idle()
      const mine = jobs.filter(({ flags }) => flags.length === 0)
      expect(started).toEqual(
        mine
          .toSorted((a, b) => b.priority - a.priority || a.n - b.n)
          .map(({ n, kind, priority }) => [ids[n], kind, priority]),
      )
      const left = (await fullRows(db)).map(({ state }) => state)
      expect(left).toEqual(Array(by === 'a function' ? 9 : 10).fill('ready'))
    })
  }
}

/** Waits until so many statements of this test's instances wait for a lock. */
async function untilBlocked(db: TestDatabase, count: number): Promise<void> {
  await until(async () => {
    const pids = await db.backends('')
    const rows = await db.sql`
      select from pg_stat_activity where pid = any (${pids}) and wait_event_type = 'Lock' and state = 'active'`
    return rows.length >= count
  })
}
