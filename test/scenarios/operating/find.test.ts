import { expect } from 'vitest'
import { findJob, findJobs, type JobsFilter } from '../../../src/admin/find.js'
import type { JobRecord } from '../../../src/admin/record.js'
import { requeue } from '../../../src/admin/requeue.js'
import { count } from '../../support/counts.js'
import { test } from '../../support/database.js'
import { insert, inserters } from '../../support/ended-jobs.js'
import { operator } from '../../support/operator.js'

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
    errors: [{ message: 'broken', failedBy: 'exhausted' }],
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
  // A record's createdAt finds that record again, though the database keeps microseconds.
  expect(await names({ since: new Date('2024-05-05T12:00:00.123Z') })).toEqual([
    ...['other', 'failed', 'running', 'ready', 'scheduled'],
  ])
  expect(await names({ since: new Date('2024-05-05T12:00:00.124Z'), state: 'failed' })).toEqual([])
  expect(await names({ since: new Date(-8.64e15) })).toHaveLength(7)
  expect(await names({ since: new Date(Date.now() + 60_000) })).toEqual([])
  // As with options, what is undefined does not filter.
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
  // Every fifth job is archived, so that each page has rows of both tables.
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
