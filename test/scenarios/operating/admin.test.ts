import type postgres from 'postgres'
import { expect } from 'vitest'
import { cancel } from '../../../src/admin/cancel.js'
import { collect, collectBatch } from '../../../src/admin/collect.js'
import { findJob, findJobs, type JobsFilter } from '../../../src/admin/find.js'
import type { JobRecord } from '../../../src/admin/record.js'
import { requeue } from '../../../src/admin/requeue.js'
import { quoteIdentifier } from '../../../src/database/sql-files.js'
import { loadStatements } from '../../../src/database/statements.js'
import { reject } from '../../../src/outcome.js'
import { signal, type TestDatabase, test } from '../../support/database.js'
import { operator } from '../../support/operator.js'
import { refusal } from '../../support/refusal.js'
import { untilAsleep, watchNotifications } from '../../support/sleepers.js'

type Fields = Readonly<Record<string, string | number | boolean | readonly string[] | null>>

const json = new Set(['payload', 'progress', 'result', 'last_error'])

/** A row as its fields say, the rest by the table's defaults. */
async function insert(db: TestDatabase, table: 'job' | 'archive', fields: Fields): Promise<string> {
  const names = Object.keys(fields)
  const [row] = await db.sql.unsafe<{ id: string }[]>(
    `insert into ${db.s}.${table} (${names}) overriding system value
     values (${names.map((name, index) => `$${index + 1}${json.has(name) ? '::text::jsonb' : ''}`)}) returning id`,
    Object.values(fields) as never[],
  )
  return row?.id ?? ''
}

const failed = (fields: Fields = {}): Fields => ({
  queue: 'emails',
  state: 'failed',
  attempt: 3,
  lease: 700,
  finished_at: '2024-01-02T00:00:00Z',
  last_error: '{"message": "broken", "failedBy": "exhausted"}',
  ...fields,
})

let nextArchived = 1_000_000
const archived = (fields: Fields = {}): Fields => {
  nextArchived += 1
  return {
    id: nextArchived,
    queue: 'emails',
    payload: '"done"',
    priority: 0,
    run_at: '2024-01-01T00:00:00Z',
    attempt: 1,
    lease: 900,
    crashes: 0,
    worker_id: 7,
    claimed_at: '2024-01-01T00:00:01Z',
    created_at: '2024-01-01T00:00:00Z',
    finished_at: '2024-01-01T00:00:03Z',
    ...fields,
  }
}

const inserters = {
  failed: (db: TestDatabase, fields?: Fields) => insert(db, 'job', failed(fields)),
  archived: (db: TestDatabase, fields?: Fields) => insert(db, 'archive', archived(fields)),
} as const
const kinds = ['failed', 'archived'] as const

async function count(db: TestDatabase, table: string, where = 'true'): Promise<number> {
  const [row] = await db.sql.unsafe<{ n: number }[]>(`select count(*)::int as n from ${db.s}.${table} where ${where}`)
  return row?.n ?? 0
}

/** Work in a transaction that stays open until `end`. */
async function transaction(db: TestDatabase, text: string): Promise<(end: 'commit' | 'rollback') => Promise<void>> {
  const sql = db.connect()
  await sql.unsafe('begin')
  await sql.unsafe(text)
  return async (end) => void (await sql.unsafe(end))
}

test('job: a failed job with all that is stored of it', async ({ db }) => {
  const id = await inserters.failed(db, {
    kind: 'welcome',
    payload: '{"to": "a@example.org", "nested_key": [1]}',
    priority: 5,
    run_at: '2024-01-01T00:00:02Z',
    created_at: '2024-01-01T00:00:00.123456Z',
    claimed_at: '2024-01-01T00:00:05Z',
    finished_at: '2024-01-01T00:00:06.5Z',
    crashes: 1,
    key: 'ada',
    flags: ['eu', 'gpu'],
    max_attempts: 3,
    timeout_ms: 60_000,
    cancel_requested_at: '2024-01-01T00:00:06Z',
    progress: '{"step": 2}',
  })
  const record = await findJob(operator(db), id)
  expect(record).toStrictEqual({
    id,
    queue: 'emails',
    kind: 'welcome',
    state: 'failed',
    payload: { to: 'a@example.org', nested_key: [1] },
    priority: 5,
    attempt: 3,
    maxAttempts: 3,
    timeoutMs: 60_000,
    crashes: 1,
    key: 'ada',
    flags: ['eu', 'gpu'],
    progress: { step: 2 },
    createdAt: new Date('2024-01-01T00:00:00.123Z'),
    runAt: new Date('2024-01-01T00:00:02Z'),
    claimedAt: new Date('2024-01-01T00:00:05Z'),
    finishedAt: new Date('2024-01-01T00:00:06.500Z'),
    workerId: null,
    cancelRequestedAt: new Date('2024-01-01T00:00:06Z'),
    error: { message: 'broken', failedBy: 'exhausted' },
    result: null,
    waitMs: 3_000,
    runMs: 1_500,
  })
  expect(Object.isFrozen(record)).toBe(true)
  expect(Object.isFrozen(record?.flags)).toBe(true)
})

test('job: an archived one, with its result and times', async ({ db }) => {
  const id = await inserters.archived(db, { id: '9007199254740993', result: '{"sent": 1}' })
  expect(await findJob(operator(db), id)).toMatchObject({
    id: '9007199254740993',
    state: 'archived',
    payload: 'done',
    result: { sent: 1 },
    workerId: '7',
    error: null,
    cancelRequestedAt: null,
    waitMs: 1_000,
    runMs: 2_000,
  })
})

test('job: a waiting and a running one have no end, and one that waits again has waited for no claim yet', async ({
  db,
}) => {
  const parts = operator(db)
  const claimed_at = '2024-01-01T00:00:00Z'
  const fresh = await insert(db, 'job', { queue: 'emails' })
  const again = await insert(db, 'job', { queue: 'emails', attempt: 1, claimed_at })
  const running = await insert(db, 'job', {
    queue: 'emails',
    state: 'running',
    worker_id: '9223372036854775807',
    claimed_at,
    created_at: '2023-12-31T23:59:59Z',
    run_at: '2023-12-31T23:59:58Z',
  })
  const none = { waitMs: null, runMs: null, finishedAt: null, workerId: null }
  expect(await findJob(parts, fresh)).toMatchObject({ ...none, state: 'ready', claimedAt: null, flags: [] })
  expect(await findJob(parts, again)).toMatchObject({ ...none, state: 'ready', claimedAt: new Date(claimed_at) })
  expect(await findJob(parts, running)).toMatchObject({
    ...none,
    state: 'running',
    waitMs: 1_000,
    workerId: '9223372036854775807',
  })
})

test('job: null where there is none, and the job where somebody has put an archived one back by hand', async ({
  db,
}) => {
  const parts = operator(db)
  expect(await findJob(parts, '17')).toBeNull()
  expect(await findJob(parts, '9223372036854775807')).toBeNull()
  const id = await inserters.archived(db)
  await inserters.failed(db, { id })
  expect(await findJob(parts, id)).toMatchObject({ id, state: 'failed' })
  expect(await requeue(parts, id)).toBe(1)
  expect(await findJob(parts, id)).toMatchObject({ id, state: 'ready', attempt: 0 })
  expect(await count(db, 'archive')).toBe(1)
})

test('jobs: by queue, state, kind and creation, newest id first', async ({ db }) => {
  const parts = operator(db)
  const created_at = '2024-05-05T12:00:00.123456Z'
  const rows = {
    scheduled: await insert(db, 'job', { queue: 'emails', state: 'scheduled', run_at: '2099-01-01T00:00:00Z' }),
    ready: await insert(db, 'job', { queue: 'emails', kind: 'welcome' }),
    running: await insert(db, 'job', { queue: 'emails', state: 'running', worker_id: 1 }),
    failed: await inserters.failed(db, { kind: 'welcome', created_at }),
    other: await insert(db, 'job', { queue: 'Emails' }),
    archived: await inserters.archived(db, { kind: 'welcome' }),
    low: await inserters.archived(db, { id: 0, created_at: '0001-01-01T00:00:00Z' }),
  }
  const names = async (filter?: JobsFilter): Promise<string[]> => {
    const { jobs, cursor } = await findJobs(parts, filter)
    expect(cursor).toBeNull()
    return jobs.map(({ id }) => Object.entries(rows).find((entry) => entry[1] === id)?.[0] ?? id)
  }
  expect(await names()).toEqual(['archived', 'other', 'failed', 'running', 'ready', 'scheduled', 'low'])
  for (const state of ['scheduled', 'running', 'failed'] as const) expect(await names({ state })).toEqual([state])
  expect(await names({ state: 'ready' })).toEqual(['other', 'ready'])
  expect(await names({ state: 'archived' })).toEqual(['archived', 'low'])
  expect(await names({ queue: 'Emails' })).toEqual(['other'])
  expect(await names({ queue: 'emails', state: 'ready' })).toEqual(['ready'])
  expect(await names({ kind: 'welcome' })).toEqual(['archived', 'failed', 'ready'])
  expect(await names({ kind: 'welcome', state: 'archived' })).toEqual(['archived'])
  expect(await names({ queue: 'nothing' })).toEqual([])
  // What a record tells as its creation finds it again, though the database knows it more exactly.
  expect(await names({ since: new Date('2024-05-05T12:00:00.123Z') })).toEqual([
    ...['other', 'failed', 'running', 'ready', 'scheduled'],
  ])
  expect(await names({ since: new Date('2024-05-05T12:00:00.124Z'), state: 'failed' })).toEqual([])
  expect(await names({ since: new Date(-8.64e15) })).toHaveLength(7)
  expect(await names({ since: new Date(Date.now() + 60_000) })).toEqual([])
  // As options are: what is undefined is not asked.
  expect(await names({ queue: undefined, cursor: null } as unknown as JobsFilter)).toHaveLength(7)
})

test('jobs: pages through 2,500 jobs of all states show each once, while new ones are put', async ({ db }) => {
  const parts = operator(db)
  await db.sql.unsafe(`
    insert into ${db.s}.job (queue, state, run_at, worker_id, finished_at)
    select
      'q' || n % 3,
      (array['scheduled', 'ready', 'running', 'failed'])[1 + n % 4],
      case when n % 4 = 0 then now() + interval '1 day' else now() end,
      case when n % 4 = 2 then n end,
      case when n % 4 = 3 then now() end
    from generate_series(1, 2500) as n`)
  // Every fifth is archived, so that each page is of both tables.
  await db.sql.unsafe(`
    with moved as (
      delete from ${db.s}.job where id % 5 = 0 returning *
    )
    insert into ${db.s}.archive (id, queue, payload, priority, run_at, attempt, lease, crashes, created_at)
    select id, queue, payload, priority, run_at, attempt, lease, crashes, created_at from moved`)
  const pages: JobRecord[][] = []
  let cursor: string | null = null
  do {
    const page = await findJobs(parts, { limit: 300, cursor })
    pages.push([...page.jobs])
    cursor = page.cursor
    await db.sql.unsafe(`insert into ${db.s}.job (queue) select 'new' from generate_series(1, 50)`)
  } while (cursor !== null)
  expect(pages.map((page) => page.length)).toEqual([300, 300, 300, 300, 300, 300, 300, 300, 100])
  const ids = pages.flat().map(({ id }) => Number(id))
  expect(ids).toEqual(Array.from({ length: 2_500 }, (_, index) => 2_500 - index))
  expect(pages.flat().filter(({ state }) => state === 'archived')).toHaveLength(500)
  expect(pages.flat().filter(({ state }) => state === 'failed')).toHaveLength(500)

  // The same with a filter, and with a last page that is exactly full.
  const first = await findJobs(parts, { state: 'failed', limit: 250 })
  const second = await findJobs(parts, { state: 'failed', limit: 250, cursor: first.cursor })
  expect(second.cursor).toBeNull()
  expect(new Set([...first.jobs, ...second.jobs].map(({ id }) => id)).size).toBe(500)
  expect((await findJobs(parts)).jobs).toHaveLength(100)
})

test('jobs: a decode that throws gives what is stored, and does not hide the others', async ({ db }) => {
  const payloads = ['1', '"two"', 'null']
  for (const payload of payloads) await insert(db, 'job', { queue: 'emails', payload })
  const withAll = await inserters.archived(db, { payload: '4', progress: '5', result: '6' })
  const decode = (stored: unknown): unknown => {
    if (typeof stored === 'string') throw new Error('not mine')
    return { decoded: stored }
  }
  const parts = { ...operator(db), decode }
  const { jobs } = await findJobs(parts)
  expect(jobs.map(({ payload, progress, result }) => [payload, progress, result])).toEqual([
    [{ decoded: 4 }, { decoded: 5 }, { decoded: 6 }],
    [{ decoded: null }, null, null],
    ['two', null, null],
    [{ decoded: 1 }, null, null],
  ])
  expect(await findJob(parts, withAll)).toEqual(jobs[0])
})

test('bad input is refused before anything is sent', async ({ db }) => {
  // Not even a connection: this is nobody's port.
  const parts = operator(db, { connectionString: 'postgres://postgres@127.0.0.1:1/postgres' })
  const ids: unknown[] = [17, 17n, null, undefined, '', '-1', '1.0', ' 1', '1e3', '9223372036854775808', '1'.repeat(20)]
  for (const id of ids) {
    for (const act of [findJob, cancel] as const) {
      expect(await refusal(() => act(parts, id as string)), String(id)).toMatchObject({ code: 'INVALID_OPTION' })
    }
    expect(await refusal(() => requeue(parts, ['1', id as string])), String(id)).toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringContaining('ids[1]'),
    })
  }
  const filters: [object | string | null, RegExp][] = [
    [{ state: 'done' }, /state must be "scheduled", /],
    [{ state: null }, /state/],
    [{ stat: 'failed' }, /did you mean state/],
    [{ kind: '' }, /kind/],
    [{ kind: 1 }, /kind/],
    [{ since: new Date(Number.NaN) }, /since/],
    [{ since: '2024-01-01' }, /since/],
    [{ limit: 0 }, /limit must be a whole number from 1 to 1000/],
    [{ limit: 1001 }, /limit/],
    [{ cursor: '' }, /cursor/],
    [{ cursor: '17' }, /cursor/],
    [{ cursor: Buffer.from('before x').toString('base64url') }, /cursor/],
    [{ cursor: `${Buffer.from('before 17').toString('base64url')}=` }, /cursor/],
    [{ cursor: 17 }, /cursor/],
    ['emails', /filter/],
    [null, /filter/],
  ]
  for (const [filter, message] of filters) {
    expect(await refusal(() => findJobs(parts, filter as JobsFilter)), JSON.stringify(filter)).toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringMatching(message),
    })
  }
  expect(await refusal(() => findJobs(parts, { queue: '' }))).toMatchObject({ code: 'INVALID_QUEUE' })
  const requeues = [undefined, null, 17, new Set(['1']), '', { state: 'ready' }, { ids: ['1'] }, { limit: 0 }]
  for (const what of requeues) {
    expect(await refusal(() => requeue(parts, what as never)), String(what)).toMatchObject({ code: 'INVALID_OPTION' })
  }
  expect(await refusal(() => requeue(parts, { queue: 'x'.repeat(129) }))).toMatchObject({ code: 'INVALID_QUEUE' })
  const collects = [
    ...[{}, { limit: 5 }, { failedOlderThanMs: -1 }, { failedOlderThanMs: Number.POSITIVE_INFINITY }],
    ...[{ archivedOlderThanMs: '1' }, { archivedOlderThanMs: 1, limit: 0 }, { archivedForMs: 1 }, undefined],
  ]
  for (const options of collects) {
    expect(await refusal(() => collect(parts, options as never)), JSON.stringify(options)).toMatchObject({
      code: 'INVALID_OPTION',
    })
  }
})

for (const kind of kinds) {
  const a = kind === 'failed' ? 'a failed' : 'an archived'

  test(`B9 requeue wakes: a sleeping consumer runs a job that was ${kind}, sweeps off`, async ({ db }) => {
    const parts = operator(db)
    const id = await inserters[kind](db, { payload: '"again"', progress: '2' })
    const bugle = db.bugle()
    let ran = signal<unknown>()
    const consumer = await bugle.consume('emails', (job) => {
      ran.resolve([job.id, job.payload, job.attempt, job.crashes, job.progress])
      return reject('once more')
    })
    await untilAsleep(db, 'emails')
    const notified = await watchNotifications(db)
    expect(await requeue(parts, id)).toBe(1)
    expect(await ran.promise).toEqual([id, 'again', 1, 0, 2])
    await consumer.idle()
    // By a filter, and from SQL, it is the same. The consumer may not have gone back to sleep: it runs all the same.
    const again = [
      () => requeue(parts, { queue: 'emails' }),
      () => db.sql.unsafe(`select ${db.s}.requeue(${id})`),
      () => db.sql.unsafe(`select ${db.s}.requeue_many('{${id}}')`),
    ]
    for (const act of again) {
      await untilAsleep(db, 'emails')
      ran = signal()
      await act()
      expect(await ran.promise).toEqual([id, 'again', 1, 0, 2])
      await consumer.idle()
    }
    expect(await notified()).toEqual(Array.from({ length: 4 }, () => 'emails'))
    expect(await count(db, 'job', "state = 'failed'")).toBe(1)
  })

  test(`requeue: a job that was ${kind} keeps its id, lease and progress, and forgets how it ended`, async ({ db }) => {
    const id = await inserters[kind](db, {
      kind: 'welcome',
      payload: '{"a": 1}',
      priority: -3,
      created_at: '2024-01-01T00:00:00Z',
      crashes: 2,
      key: 'ada',
      flags: ['eu'],
      max_attempts: 4,
      timeout_ms: 5_000,
      progress: '{"step": 2}',
      ...(kind === 'failed' && { cancel_requested_at: '2024-01-01T00:00:00Z', claimed_at: '2024-01-01T00:00:00Z' }),
    })
    const parts = operator(db)
    const before = await findJob(parts, id)
    const [{ lease, at }] = await db.sql.unsafe<[{ lease: string; at: Date }]>(
      `select lease, now() as at from ${db.s}.${kind === 'failed' ? 'job' : 'archive'}`,
    )
    expect(await requeue(parts, id)).toBe(1)
    const after = await findJob(parts, id)
    expect(after).toStrictEqual({
      ...before,
      state: 'ready',
      attempt: 0,
      crashes: 0,
      runAt: after?.runAt,
      claimedAt: null,
      finishedAt: null,
      workerId: null,
      cancelRequestedAt: null,
      error: null,
      result: null,
      waitMs: null,
      runMs: null,
    })
    expect(after?.runAt.getTime()).toBeGreaterThanOrEqual(at.getTime())
    expect(await db.jobs()).toMatchObject([{ id, lease, state: 'ready' }])
    expect(await count(db, 'archive')).toBe(0)
    // And is not there to be requeued any more.
    expect(await requeue(parts, id)).toBe(0)
  })

  for (const end of ['commit', 'rollback'] as const) {
    test(`H2 two requeues of one id that was ${kind} make one job, the first one ends with ${end}`, async ({ db }) => {
      const parts = operator(db)
      const id = await inserters[kind](db)
      const endFirst = await transaction(db, `select ${db.s}.requeue(${id})`)
      const second = requeue(parts, [id, id])
      await parts.untilBlocked()
      await endFirst(end)
      expect(await second).toBe(end === 'commit' ? 0 : 1)
      expect(await db.jobs()).toMatchObject([{ id, state: 'ready' }])
      expect(await count(db, 'archive')).toBe(0)
    })
  }

  test(`H2 many requeues of the same ${kind} jobs at once, by ids in any order and by filter: each is made ready once`, async ({
    db,
  }) => {
    const ids: string[] = []
    for (let n = 0; n < 60; n += 1) ids.push(await inserters[kind](db))
    const operators = [operator(db), operator(db), operator(db)]
    const made = await Promise.all(
      operators.flatMap((parts, index) => [
        requeue(parts, index === 1 ? ids.toReversed() : ids),
        requeue(parts, { state: kind, queue: 'emails' }),
      ]),
    )
    expect(made.reduce((sum, n) => sum + n)).toBe(60)
    expect(await count(db, 'job', "state = 'ready'")).toBe(60)
    expect(await count(db, 'archive')).toBe(0)
  })

  test(`H5 of two ${kind} jobs of one key that are requeued together one keeps the key`, async ({ db }) => {
    const ids = [await inserters[kind](db, { key: 'ada' }), await inserters[kind](db, { key: 'ada' })]
    const elsewhere = await inserters[kind](db, { key: 'ada', queue: 'media' })
    expect(await requeue(operator(db), [...ids, elsewhere])).toBe(3)
    const rows = await db.sql.unsafe<{ key: string | null }[]>(`select key from ${db.s}.job where state = 'ready'`)
    expect(rows.filter(({ key }) => key === 'ada')).toHaveLength(2)
    expect(rows.filter(({ key }) => key === null)).toHaveLength(1)
    expect(await findJob(operator(db), elsewhere)).toMatchObject({ key: 'ada', state: 'ready' })
  })

  test(`H5 ${a} job goes back without its key while a newer one waits under it`, async ({ db }) => {
    const id = await inserters[kind](db, { key: 'ada' })
    const newer = await insert(db, 'job', { queue: 'emails', key: 'ada', run_at: '2099-01-01T00:00:00Z' })
    const parts = operator(db)
    expect(await requeue(parts, { state: kind })).toBe(1)
    expect(await findJob(parts, id)).toMatchObject({ state: 'ready', key: null })
    expect(await findJob(parts, newer)).toMatchObject({ state: 'scheduled', key: 'ada' })
  })

  for (const end of ['commit', 'rollback'] as const) {
    test(`H5 ${a} job whose key is just being put waits for that put; it ends with ${end}`, async ({ db }) => {
      const id = await inserters[kind](db, { key: 'ada' })
      const other = await inserters[kind](db, { key: 'bob' })
      const parts = operator(db)
      const endPut = await transaction(db, `insert into ${db.s}.job (queue, key) values ('emails', 'ada')`)
      const requeued = requeue(parts, [id, other])
      await parts.untilBlocked()
      await endPut(end)
      expect(await requeued).toBe(2)
      expect(await findJob(parts, id)).toMatchObject({ state: 'ready', key: end === 'commit' ? null : 'ada' })
      expect(await findJob(parts, other)).toMatchObject({ state: 'ready', key: 'bob' })
    })
  }

  test(`requeue: by filter, ${kind} jobs of that queue, kind and time only, lowest ids first`, async ({ db }) => {
    const parts = operator(db)
    const other = kind === 'failed' ? 'archived' : 'failed'
    const ids: string[] = []
    for (let n = 0; n < 3; n += 1) ids.push(await inserters[kind](db, { kind: 'welcome' }))
    const media = await inserters[kind](db, { queue: 'media', created_at: '2030-01-01T00:00:00Z' })
    const plain = await inserters[kind](db)
    const untouched = await inserters[other](db)
    const ready = async () => (await findJobs(parts, { state: 'ready' })).jobs.map(({ id }) => id).reverse()

    expect(await requeue(parts, { state: kind, queue: 'nothing' })).toBe(0)
    expect(await requeue(parts, { state: kind, queue: 'emails', kind: 'welcome', limit: 2 })).toBe(2)
    expect(await ready()).toEqual(ids.slice(0, 2))
    expect(await requeue(parts, { state: kind, since: new Date('2030-01-01T00:00:00Z') })).toBe(1)
    expect(await ready()).toEqual([...ids.slice(0, 2), media].sort())
    expect(await requeue(parts, kind === 'failed' ? {} : { state: kind })).toBe(2)
    expect(await ready()).toEqual([...ids, media, plain].sort())
    expect(await findJob(parts, untouched)).toMatchObject({ state: other })
  })
}

test('requeue: ids of both kinds in one call; what waits, runs or is gone is passed over', async ({ db }) => {
  const parts = operator(db)
  const again = [await inserters.failed(db), await inserters.archived(db)]
  const ready = await insert(db, 'job', { queue: 'emails', attempt: 2 })
  const running = await insert(db, 'job', { queue: 'emails', state: 'running', worker_id: 7, attempt: 1 })
  const before = await Promise.all([findJob(parts, ready), findJob(parts, running)])
  expect(await requeue(parts, [...again, ready, running, '123456789', again[0] ?? ''])).toBe(2)
  expect(await Promise.all([findJob(parts, ready), findJob(parts, running)])).toEqual(before)
  expect(await requeue(parts, [])).toBe(0)
  expect(await requeue(parts, {})).toBe(0)
  expect(await requeue(parts, '123456789')).toBe(0)
})

test('requeue: 2,500 by one filter, in batches; one that fails again at once is not requeued twice', async ({ db }) => {
  const parts = operator(db)
  await db.sql.unsafe(`
    insert into ${db.s}.job (queue, state, finished_at) select 'emails', 'failed', now() from generate_series(1, 2500)`)
  // A consumer of the kind that is faster than anybody: whatever gets ready has failed when the statement ends.
  await db.sql.unsafe(`
    create table ${db.s}.batch (transaction bigint, jobs bigint);
    create function ${db.s}.fail() returns trigger language plpgsql as $$
    begin
      if not exists (select from changed where state = 'ready') then
        return null;
      end if;
      insert into ${db.s}.batch select txid_current(), count(*) from changed;
      update ${db.s}.job set state = 'failed' where state = 'ready';
      return null;
    end $$;
    create trigger fail after update on ${db.s}.job referencing new table as changed
    for each statement execute function ${db.s}.fail()`)
  expect(await requeue(parts, {})).toBe(2_500)
  expect(await requeue(parts, { limit: 1_200 })).toBe(1_200)
  const batches = await db.sql.unsafe<{ jobs: string }[]>(`select jobs from ${db.s}.batch order by transaction`)
  expect(batches.map(({ jobs }) => Number(jobs))).toEqual([1_000, 1_000, 500, 1_000, 200])
  expect(await count(db, 'batch', `transaction in (select max(transaction) from ${db.s}.batch)`)).toBe(1)
})

test('G1 cancel: a waiting job is failed at once and never runs', async ({ db }) => {
  const parts = operator(db)
  const claimed_at = '2024-01-01T00:00:00Z'
  const ready = await insert(db, 'job', { queue: 'emails', attempt: 2, claimed_at, key: 'ada' })
  const scheduled = await insert(db, 'job', { queue: 'emails', run_at: '2099-01-01T00:00:00Z' })
  for (const id of [ready, scheduled]) {
    expect(await cancel(parts, id)).toBe('cancelled')
    const record = await findJob(parts, id)
    expect(record).toMatchObject({ state: 'failed', workerId: null, claimedAt: null, waitMs: null, runMs: null })
    expect(record?.error).toEqual({
      name: 'BugleError',
      message: 'cancelled',
      code: 'CANCELLED',
      failedBy: 'cancelled',
      attempt: id === ready ? 2 : 0,
    })
    expect(record?.finishedAt).toBeInstanceOf(Date)
    expect(record?.cancelRequestedAt).toBeInstanceOf(Date)
    expect(await cancel(parts, id)).toBe('not-found')
    expect(await findJob(parts, id)).toEqual(record)
  }
  const seen: unknown[] = []
  const bugle = db.bugle()
  const consumer = await bugle.consume('emails', (job) => void seen.push(job.payload))
  await bugle.put('emails', 'marker')
  await consumer.idle()
  expect(seen).toEqual(['marker'])
  // Until it is requeued.
  expect(await requeue(parts, ready)).toBe(1)
  await consumer.idle()
  expect(seen).toEqual(['marker', null])
})

test('cancel: a running job is asked once and keeps its lease; what is over is not found', async ({ db }) => {
  const parts = operator(db)
  const running = await insert(db, 'job', { queue: 'emails', state: 'running', worker_id: 7, lease: 5 })
  expect(await cancel(parts, running)).toBe('requested')
  const first = await findJob(parts, running)
  expect(first).toMatchObject({ state: 'running', workerId: '7', error: null, finishedAt: null })
  expect(first?.cancelRequestedAt).toBeInstanceOf(Date)
  expect(await cancel(parts, running)).toBe('requested')
  expect(await findJob(parts, running)).toEqual(first)
  expect(await db.jobs()).toMatchObject([{ id: running, lease: '5' }])
  for (const id of [await inserters.failed(db), await inserters.archived(db), '123456789']) {
    expect(await cancel(parts, id)).toBe('not-found')
  }
})

const claims = `set state = 'running', worker_id = 7, attempt = attempt + 1, lease = lease + 1`
const settles = { acks: 'delete from', fails: 'update' } as const

for (const [end, answer, state] of [
  ['commit', 'requested', 'running'],
  ['rollback', 'cancelled', 'failed'],
] as const) {
  test(`cancel against a claim in flight that ends with ${end}: ${answer}`, async ({ db }) => {
    const parts = operator(db)
    const id = await insert(db, 'job', { queue: 'emails' })
    const endClaim = await transaction(db, `update ${db.s}.job ${claims} where id = ${id}`)
    const cancelled = cancel(parts, id)
    await parts.untilBlocked()
    await endClaim(end)
    expect(await cancelled).toBe(answer)
    expect(await findJob(parts, id)).toMatchObject({ state, cancelRequestedAt: expect.any(Date) })
  })
}

for (const [how, statement] of Object.entries(settles)) {
  test(`cancel against a settle in flight that ${how} the job: not-found`, async ({ db }) => {
    const parts = operator(db)
    const id = await insert(db, 'job', { queue: 'emails', state: 'running', worker_id: 7 })
    const change = how === 'fails' ? ` set state = 'failed', worker_id = null` : ''
    const endSettle = await transaction(db, `${statement} ${db.s}.job${change} where id = ${id}`)
    const cancelled = cancel(parts, id)
    await parts.untilBlocked()
    await endSettle('commit')
    expect(await cancelled).toBe('not-found')
    expect(await findJob(parts, id)).toEqual(
      how === 'acks' ? null : expect.objectContaining({ cancelRequestedAt: null }),
    )
  })
}

/** Rows that ended so long ago; ids above those of every other row of the test. */
async function fill(db: TestDatabase, what: 'failed' | 'archived', rows: number, age: string): Promise<void> {
  await db.sql.unsafe(
    what === 'failed'
      ? `insert into ${db.s}.job (queue, state, finished_at)
         select 'q' || n % 7, 'failed', now() - interval '${age}' - n * interval '1 ms' from generate_series(1, ${rows}) as n`
      : `insert into ${db.s}.archive (id, queue, payload, priority, run_at, attempt, lease, crashes, created_at, finished_at)
         select n + coalesce((select max(id) from ${db.s}.archive), 0), 'q' || n % 7, 'null', 0, now(), 1, 1, 0, now(),
           now() - interval '${age}' - n * interval '1 ms'
         from generate_series(1, ${rows}) as n`,
  )
}

/** The transactions that delete from a table, with how many rows each. */
async function watchDeletes(db: TestDatabase, table: 'job' | 'archive'): Promise<() => Promise<number[]>> {
  await db.sql.unsafe(`
    create table ${db.s}.deleted_${table} (transaction bigint, jobs int);
    create function ${db.s}.note_${table}() returns trigger language plpgsql as $$
    begin
      insert into ${db.s}.deleted_${table} select txid_current(), count(*) from gone;
      return null;
    end $$;
    create trigger note after delete on ${db.s}.${table} referencing old table as gone
    for each statement execute function ${db.s}.note_${table}()`)
  return async () =>
    (
      await db.sql.unsafe<{ jobs: number }[]>(
        `select sum(jobs)::int as jobs from ${db.s}.deleted_${table} group by transaction order by transaction`,
      )
    ).map(({ jobs }) => jobs)
}

test('collect: old failed and archived rows go in batches of 1,000, each a transaction; everything else stays', async ({
  db,
}) => {
  const parts = operator(db)
  const batches = [await watchDeletes(db, 'job'), await watchDeletes(db, 'archive')]
  for (const what of kinds) {
    await fill(db, what, 2_500, '2 hours')
    await fill(db, what, 10, '10 min')
  }
  await db.sql.unsafe(`insert into ${db.s}.job (queue, finished_at) values ('emails', '2000-01-01')`)
  // By hand, without the time: nobody knows how old it is.
  await inserters.failed(db, { finished_at: null })
  expect(await collect(parts, { failedOlderThanMs: 3_600_000 })).toEqual({ failed: 2_500, archived: 0 })
  expect(await collect(parts, { archivedOlderThanMs: 3_600_000 })).toEqual({ failed: 0, archived: 2_500 })
  for (const deleted of batches) expect(await deleted()).toEqual([1_000, 1_000, 500])
  expect(await count(db, 'job')).toBe(12)
  expect(await count(db, 'archive')).toBe(10)
  expect(await collect(parts, { failedOlderThanMs: 3_155_760_000_000, archivedOlderThanMs: 3_600_000 })).toEqual({
    failed: 0,
    archived: 0,
  })
  expect(await collect(parts, { failedOlderThanMs: 0, archivedOlderThanMs: 0 })).toEqual({ failed: 10, archived: 10 })
  expect(await count(db, 'job')).toBe(2)
})

test('collect: the oldest first, and no more than the limit in all', async ({ db }) => {
  const parts = operator(db)
  await fill(db, 'failed', 30, '1 hour')
  await fill(db, 'archived', 30, '1 hour')
  expect(await collect(parts, { failedOlderThanMs: 0, archivedOlderThanMs: 0, limit: 10 })).toEqual({
    failed: 10,
    archived: 0,
  })
  expect(await count(db, 'job', `id <= 20`)).toBe(20)
  expect(await collect(parts, { failedOlderThanMs: 0, archivedOlderThanMs: 0, limit: 25 })).toEqual({
    failed: 20,
    archived: 5,
  })
})

test('collect: one collector at a time in a schema; a call waits for its turn, a batch by itself does not', async ({
  db,
}) => {
  const { database } = operator(db)
  await fill(db, 'failed', 5, '1 hour')
  await fill(db, 'archived', 5, '1 hour')
  const text = loadStatements(db.schema).collect_failed.replace('$1', '0').replace('$2', '1')
  const endOther = await transaction(db, text)
  for (const what of kinds) expect(await collectBatch(database, what, 0)).toEqual({ locked: false, deleted: 0 })

  let tries = 0
  const triedTwice = signal()
  const counting = {
    ...database,
    query: async <Row>(...args: Parameters<typeof database.query>): Promise<Row[]> => {
      const rows = await database.query<Row>(...args)
      tries += 1
      if (tries === 2) triedTwice.resolve()
      return rows
    },
  }
  const waiting = collect({ database: counting }, { failedOlderThanMs: 0, archivedOlderThanMs: 0 })
  await triedTwice.promise
  expect(await count(db, 'job')).toBe(5)
  await endOther('rollback')
  expect(await waiting).toEqual({ failed: 5, archived: 5 })
  expect(await collectBatch(database, 'failed', 0)).toEqual({ locked: true, deleted: 0 })
})

test('collect: two calls at once delete each row once', async ({ db }) => {
  const batches = await watchDeletes(db, 'job')
  await fill(db, 'failed', 5_000, '1 hour')
  const reports = await Promise.all(
    [operator(db), operator(db)].map((parts) => collect(parts, { failedOlderThanMs: 60_000 })),
  )
  expect(reports.reduce((sum, { failed }) => sum + failed, 0)).toBe(5_000)
  expect((await batches()).reduce((sum, jobs) => sum + jobs, 0)).toBe(5_000)
  expect(await count(db, 'job')).toBe(0)
})

test('collect: a job that is being requeued is left alone, however that ends', async ({ db }) => {
  const parts = operator(db)
  for (const kind of kinds) {
    const id = await inserters[kind](db)
    for (const end of ['rollback', 'commit'] as const) {
      const endRequeue = await transaction(db, `select ${db.s}.requeue(${id})`)
      expect(await collect(parts, { failedOlderThanMs: 0, archivedOlderThanMs: 0 })).toEqual({ failed: 0, archived: 0 })
      await endRequeue(end)
    }
    expect(await findJob(parts, id)).toMatchObject({ state: 'ready' })
  }
})

test('from SQL: requeue, requeue_many and cancel, in the caller’s own transaction', async ({ db }) => {
  const sql = db.connect()
  const ids = [await inserters.failed(db), await inserters.archived(db), await inserters.failed(db)]
  const [a, b, c] = ids
  const value = async (call: string, ...values: string[]): Promise<unknown> => {
    const [row] = await sql.unsafe<{ value: unknown }[]>(`select ${db.s}.${call} as value`, values)
    return row?.value
  }
  await sql.unsafe('begin')
  expect(await value(`requeue(${a})`)).toBe(true)
  expect(await value(`cancel(${a})`)).toBe('cancelled')
  expect(await value(`requeue_many('{${ids}}')`)).toBe('3')
  await sql.unsafe('rollback')
  expect(await count(db, 'job', "state = 'failed'")).toBe(2)

  // A parameter whose type the driver leaves to the server.
  expect(await value('requeue($1)', b ?? '')).toBe(true)
  expect(await value('requeue($1)', b ?? '')).toBe(false)
  expect(await value('requeue_many($1)', `{${a},${c},NULL}`)).toBe('2')
  expect(await value('requeue(null)')).toBe(false)
  expect(await value('requeue_many(null)')).toBe('0')
  expect(await value("requeue_many('{}')")).toBe('0')
  expect(await value('cancel($1)', c ?? '')).toBe('cancelled')
  expect(await value('cancel($1)', c ?? '')).toBe('not-found')
  expect(await value('cancel(null)')).toBe('not-found')
  expect(await count(db, 'job', "state = 'ready'")).toBe(2)
})

interface PlanNode {
  readonly 'Node Type': string
  readonly 'Index Name'?: string
  readonly Plans?: readonly PlanNode[]
}

/** The plan as an operator's session makes it: for these values. */
async function explain(session: postgres.Sql, text: string, values: string): Promise<PlanNode[]> {
  await session.unsafe(`prepare asked as ${text}`)
  const [row] = await session.unsafe<{ 'QUERY PLAN': [{ Plan: PlanNode }] }[]>(
    `explain (format json) execute asked (${values})`,
  )
  await session.unsafe('deallocate asked')
  const flatten = (node: PlanNode): PlanNode[] => [node, ...(node.Plans ?? []).flatMap(flatten)]
  return row === undefined ? [] : flatten(row['QUERY PLAN'][0].Plan)
}

test('plans: with 100,000 failed rows, archived ones and ready ones, every statement goes by an index', async ({
  db,
}) => {
  await db.sql.begin(async (tx) => {
    // Without triggers, which only take time here.
    await tx`set local session_replication_role = replica`
    await tx.unsafe(`
      insert into ${db.s}.job (queue, payload, state, finished_at)
      select 'emails', to_jsonb(n), case when n % 2 = 0 then 'failed' else 'ready' end,
        case when n % 2 = 0 then now() - n * interval '1 s' end
      from generate_series(1, 200000) as n`)
  })
  await fill(db, 'archived', 100_000, '1 hour')
  const session = db.connect()
  await session`set plan_cache_mode = force_custom_plan`
  const statements = loadStatements(db.schema)
  const all: Record<string, [keyof typeof statements, string, readonly string[]]> = {
    'a collect of failed jobs': ['collect_failed', '100000000, 1000', ['job_failed', 'job_pkey']],
    'a collect of all failed jobs': ['collect_failed', '0, 1000', ['job_failed', 'job_pkey']],
    'a collect of archived jobs': ['collect_archived', '0, 1000', ['archive_finished', 'archive_pkey']],
    'a requeue of failed jobs': ['requeue_failed', `50000, 1000, null, null, null`, ['job_pkey']],
    'a requeue of archived jobs': ['requeue_archived', `50000, 1000, null, null, null`, ['archive_pkey']],
    'a look at one job': ['job_find', '5', ['archive_pkey', 'job_pkey']],
    'a page of all jobs': ['jobs_find', 'null, 101, null, null, null, null', ['archive_pkey', 'job_pkey']],
    'a page far back': ['jobs_find', `9000, 101, 'emails', null, null, null`, ['archive_pkey', 'job_pkey']],
    'a page of failed jobs': ['jobs_find', `null, 101, null, 'failed', null, null`, ['job_pkey']],
    'a page of failed jobs of a queue': ['jobs_find', `150000, 101, 'emails', 'failed', null, null`, ['job_pkey']],
    'a page of running jobs': ['jobs_find', `null, 101, null, 'running', null, null`, ['job_running']],
    'a page of archived jobs': ['jobs_find', `null, 101, null, 'archived', null, null`, ['archive_pkey']],
  }
  for (const [what, [name, values, indexes]] of Object.entries(all)) {
    await db.sql.unsafe(`analyze ${db.s}.job, ${db.s}.archive`)
    const nodes = await explain(session, statements[name], values)
    const plan = `${what}: ${nodes.map((node) => [node['Node Type'], node['Index Name']].join(' ')).join(' | ')}`
    expect.soft(nodes.map((node) => node['Node Type']).join(), plan).not.toMatch(/Seq Scan/)
    expect.soft([...new Set(nodes.flatMap((node) => node['Index Name'] ?? []))].sort(), plan).toEqual(indexes)
  }
})

test('what goes wrong is told as the caller must see it', async ({ db }) => {
  const parts = operator(db)
  const nowhere = operator(db, { connectionString: 'postgres://postgres@127.0.0.1:1/postgres' })
  const unmigrated = operator(db, { schema: `${db.schema} no` })
  const acts = {
    job: (p: typeof parts) => findJob(p, '1'),
    jobs: (p: typeof parts) => findJobs(p),
    requeue: (p: typeof parts) => requeue(p, '1'),
    cancel: (p: typeof parts) => cancel(p, '1'),
    collect: (p: typeof parts) => collect(p, { failedOlderThanMs: 0 }),
  }
  for (const act of Object.values(acts)) {
    expect(await refusal(() => act(nowhere))).toMatchObject({ code: 'DATABASE_DOWN' })
    expect(await refusal(() => act(unmigrated))).toMatchObject({ code: 'NOT_MIGRATED' })
  }

  // A backend that dies in the middle of each; what it did is unknown, unless it only read.
  await inserters.failed(db, { id: 1 })
  const unlock = await transaction(db, `lock table ${db.s}.job in access exclusive mode`)
  // Connections of its own for each: what a pool does after a loss is not the question here.
  const dying = Object.entries(acts).map(([name, act]) => ({ name, act, own: operator(db) }))
  for (const { name, act, own } of dying) {
    const refused = refusal(() => act(own))
    await db.kill(await own.untilBlocked())
    expect(await refused, name).toMatchObject({
      code: name === 'job' || name === 'jobs' ? 'DATABASE_DOWN' : 'RESULT_UNKNOWN',
      message: expect.stringMatching(new RegExp(`^${name}: `)),
    })
  }
  // Together: a pool that lost a connection takes seconds to end.
  await Promise.all(dying.map(({ own }) => own.database.end()))
  await unlock('rollback')

  // The tables go away while it runs.
  await db.sql.unsafe(`drop schema ${db.s} cascade`)
  for (const [name, act] of Object.entries(acts)) {
    expect(await refusal(() => act(parts)), name).toMatchObject({ code: 'NOT_MIGRATED' })
  }
  await db.sql.unsafe(`create schema ${db.s}`)
  await parts.database.end()
  for (const act of Object.values(acts)) expect(await refusal(() => act(parts))).toMatchObject({ code: 'CLOSED' })
})

test('a call that ends between its batches says that a part was written', async ({ db }) => {
  const parts = operator(db)
  await fill(db, 'failed', 1_500, '1 hour')
  const unlock = await transaction(db, `select from ${db.s}.job where id = 1200 for update`)
  const refused = refusal(() => requeue(parts, {}))
  await db.kill(await parts.untilBlocked())
  expect(await refused).toMatchObject({
    code: 'RESULT_UNKNOWN',
    message: expect.stringContaining('a part was written'),
  })
  expect(await count(db, 'job', "state = 'ready'")).toBe(1_000)
  await unlock('rollback')
  expect(await requeue(parts, {})).toBe(500)
})

test('calls that wait for locks hold up neither puts nor consumers', async ({ db }) => {
  const bugle = db.bugle({ poolSize: 2 })
  const parts = operator(db)
  const ids = [await insert(db, 'job', { queue: 'locked' }), await insert(db, 'job', { queue: 'locked' })]
  const unlock = await transaction(db, `select from ${db.s}.job where queue = 'locked' for update`)
  const cancelled = ids.map((id) => cancel(parts, id))
  await parts.untilBlocked(2)
  const id = await bugle.put('emails', 1)
  const consumer = await bugle.consume('emails', () => {})
  await consumer.idle()
  expect((await db.jobs()).filter((job) => job.id === id)).toEqual([])
  await unlock('rollback')
  expect(await Promise.all(cancelled)).toEqual(['cancelled', 'cancelled'])
})

test('without prepared statements and session settings everything works the same', async ({ db }) => {
  const parts = operator(db, { prepare: false })
  const id = await inserters.failed(db)
  expect((await findJobs(parts, { state: 'failed', queue: 'emails', since: new Date(0) })).jobs).toHaveLength(1)
  expect(await requeue(parts, { queue: 'emails' })).toBe(1)
  expect(await cancel(parts, id)).toBe('cancelled')
  expect(await requeue(parts, id)).toBe(1)
  expect(await findJob(parts, id)).toMatchObject({ state: 'ready' })
  expect(await collect(parts, { failedOlderThanMs: 0, archivedOlderThanMs: 0 })).toEqual({ failed: 0, archived: 0 })
})

test('in a schema whose name must be quoted everywhere, every call works', async ({ db }) => {
  const schema = `${db.schema} "q" 'x' \\ $1 :"schema"`
  const quoted = quoteIdentifier(schema)
  await db.bugle({ schema }).migrate()
  try {
    const parts = operator(db, { schema })
    const id = await insert({ ...db, s: quoted }, 'job', failed())
    const old = await insert({ ...db, s: quoted }, 'archive', archived())
    expect((await findJobs(parts, { queue: 'emails' })).jobs.map((job) => job.id)).toEqual([old, id])
    expect(await requeue(parts, id)).toBe(1)
    expect(await requeue(parts, { state: 'archived' })).toBe(1)
    for (const one of [id, old]) expect(await cancel(parts, one)).toBe('cancelled')
    expect(await requeue(parts, {})).toBe(2)
    for (const one of [id, old]) expect(await cancel(parts, one)).toBe('cancelled')
    expect(await collect(parts, { failedOlderThanMs: 0, archivedOlderThanMs: 0 })).toEqual({ failed: 2, archived: 0 })
    expect(await findJob(parts, id)).toBeNull()
  } finally {
    await db.sql.unsafe(`drop schema ${quoted} cascade`)
  }
})
