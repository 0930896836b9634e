import { expect } from 'vitest'
import { cancel } from '../../../src/admin/cancel.js'
import { collect } from '../../../src/admin/collect.js'
import { findJob, findJobs, type JobsFilter } from '../../../src/admin/find.js'
import { requeue } from '../../../src/admin/requeue.js'
import { quoteIdentifier } from '../../../src/database/sql-files.js'
import { count } from '../../support/counts.js'
import { test } from '../../support/database.js'
import { archived, failed, fill, insert, inserters } from '../../support/ended-jobs.js'
import { transaction } from '../../support/open-transaction.js'
import { operator } from '../../support/operator.js'
import { refusal } from '../../support/refusal.js'

test('bad input is refused before anything is sent', async ({ db }) => {
  // Nothing listens on this port, so a connection would fail with another error.
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

  // The driver leaves the type of these parameters to the server.
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

  // A backend dies in the middle of each call. The result is unknown, unless the call only reads.
  await inserters.failed(db, { id: 1 })
  const unlock = await transaction(db, `lock table ${db.s}.job in access exclusive mode`)
  // Each call has its own connections: how a pool recovers from a loss is not tested here.
  const dying = Object.entries(acts).map(([name, act]) => ({ name, act, own: operator(db) }))
  for (const { name, act, own } of dying) {
    const refused = refusal(() => act(own))
    await db.kill(await own.untilBlocked())
    expect(await refused, name).toMatchObject({
      code: name === 'job' || name === 'jobs' ? 'DATABASE_DOWN' : 'RESULT_UNKNOWN',
      message: expect.stringMatching(new RegExp(`^${name}: `)),
    })
  }
  // They end together: a pool that has lost a connection takes seconds to end.
  await Promise.all(dying.map(({ own }) => own.database.end()))
  await unlock('rollback')

  // The tables are dropped under open connections.
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
