import { expect } from 'vitest'
import { type Bugle, partial, retry } from '../../../src/index.js'
import { broken } from '../../support/broken.js'
import { signal } from '../../support/database.js'
import { test } from '../../support/gates.js'
import { type KeyMode, keyModes } from '../../support/key-modes.js'
import { refusal } from '../../support/refusal.js'
import { fullRows } from '../../support/rows.js'

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
  expect(
    await bugle.put('q', 'second', {
      key: 'ada',
      keyMode: 'replace',
      kind: 'new',
      priority: -3,
      runAt,
      maxAttempts: 2,
    }),
  ).toBe(id)
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
