import { expect } from 'vitest'
import { cancelMatching } from '../../../src/admin/cancel.js'
import { discard } from '../../../src/admin/discard.js'
import { findJobs } from '../../../src/admin/find.js'
import { requeue } from '../../../src/admin/requeue.js'
import { signal } from '../../support/database.js'
import { fill, inserters } from '../../support/ended-jobs.js'
import { test } from '../../support/gates.js'
import { operator } from '../../support/operator.js'
import { refusal } from '../../support/refusal.js'
import { fullRows } from '../../support/rows.js'

const letter = { to: 'ada', tags: ['a', 'b'], deep: { n: 1 } }

test('containing: jobs by what their payload contains, archived ones too, page by page', async ({ db }) => {
  const bugle = db.bugle()
  const ids = await bugle.putMany('q', [letter, { to: 'bob' }, { ...letter, more: 1 }, 'ada', letter])
  const old = await inserters.archived(db, { queue: 'q', payload: JSON.stringify(letter) })
  await bugle.put('other', letter)
  const find = async (filter: object) => (await bugle.jobs({ queue: 'q', ...filter })).jobs.map(({ id }) => id)
  expect(await find({ containing: { to: 'ada' } })).toEqual([old, ids[4], ids[2], ids[0]])
  expect(await find({ containing: { tags: ['b'], deep: {} } })).toEqual([old, ids[4], ids[2], ids[0]])
  expect(await find({ containing: { more: 1 } })).toEqual([ids[2]])
  expect(await find({ containing: 'ada' })).toEqual([ids[3]])
  expect(await find({ containing: { to: 'eve' } })).toEqual([])
  expect(await find({ containing: { to: 'ada' }, state: 'archived' })).toEqual([old])
  expect(await find({ containing: { to: 'ada' }, kind: 'k' })).toEqual([])

  const first = await bugle.jobs({ queue: 'q', containing: { to: 'ada' }, limit: 2, contents: false })
  expect(first).toMatchObject({ jobs: [{ id: old }, { id: ids[4], payload: null }], isCut: false })
  const second = await bugle.jobs({ queue: 'q', containing: { to: 'ada' }, limit: 2, cursor: first.cursor })
  expect(second.jobs.map(({ id }) => id)).toEqual([ids[2], ids[0]])
  expect(second.cursor).toBe(null)
  expect(await refusal(() => bugle.jobs({ containing: () => {} }))).toMatchObject({ code: 'INVALID_PAYLOAD' })
})

test('containing: a look ends at its bound, says so, and is gone on with', async ({ db }) => {
  const parts = operator(db)
  const bugle = db.bugle()
  const [first] = await bugle.putMany('q', [letter, ...Array(10_500).fill(0)])
  const page = await findJobs(parts, { containing: letter })
  expect(page).toMatchObject({ jobs: [], isCut: true, cursor: expect.any(String) })
  expect(await findJobs(parts, { containing: letter, cursor: page.cursor })).toMatchObject({
    jobs: [{ id: first }],
    isCut: false,
    cursor: null,
  })
})

test('containing: a look also ends at 64 MB of payloads as they are stored', async ({ db }) => {
  const parts = operator(db)
  // Random text, which is not compressed: 24 MB each.
  await db.sql.unsafe(`
    insert into ${db.s}.job (queue, payload)
    select 'heavy', jsonb_build_object('n', n, 'x', (
      select string_agg(md5(random()::text || m), '') from generate_series(1, 750000) as m
    )) from generate_series(1, 3) as n`)
  const page = await findJobs(parts, { containing: { n: 1 }, contents: false })
  expect(page).toMatchObject({ jobs: [], isCut: true })
  const rest = await findJobs(parts, { containing: { n: 1 }, contents: false, cursor: page.cursor })
  expect(rest).toMatchObject({ jobs: [{ queue: 'heavy' }], isCut: false, cursor: null })
})

test('requeue, discard and cancel by payload do it to those jobs alone, over batches', async ({ db }) => {
  const parts = operator(db)
  await fill(db, 'failed', 2_500, '1 hour')
  const payload = JSON.stringify(letter)
  for (const id of [1, 1_200, 2_400])
    await db.sql.unsafe(`update ${db.s}.job set payload = $1::text::jsonb where id = $2`, [payload, id])
  const looks: number[] = []
  const onProgress = (total: number) => looks.push(total)
  expect(await requeue(parts, { containing: letter, limit: 2 }, { onProgress })).toBe(2)
  // The limit is no bound of the looks: two of 1,000 jobs, and not one a job.
  expect(looks).toEqual([1, 2])
  const states = async () =>
    (await fullRows(db)).filter(({ state }) => state !== 'failed').map(({ id, state }) => [id, state])
  expect(await states()).toEqual([
    ['1', 'ready'],
    ['1200', 'ready'],
  ])
  expect(await cancelMatching(parts, { containing: letter, state: 'ready', limit: 2 ** 40 })).toBe(2)
  expect(await states()).toEqual([])
  const seen: number[] = []
  expect(
    await discard(parts, { state: 'failed', containing: letter }, { onProgress: (total) => seen.push(total) }),
  ).toBe(3)
  expect(seen).toEqual([1, 2, 3])
  expect(await fullRows(db)).toHaveLength(2_497)
})

test('cancel by a filter: what waits is failed, what runs is asked to end, what is over stays', async ({
  db,
  gate,
}) => {
  const bugle = db.bugle()
  const begun = signal()
  const blocked = gate()
  const aborted = signal<unknown>()
  const running = await bugle.put('q', 'runs')
  const consumer = await bugle.consume('q', async (_, { signal: ends }) => {
    begun.resolve()
    ends.addEventListener('abort', () => aborted.resolve(ends.reason.code))
    await blocked.promise
  })
  await begun.promise
  await consumer.pause()
  const ready = await bugle.put('q', 'ready', { kind: 'k' })
  const scheduled = await bugle.put('q', 'scheduled', { delayMs: 3_600_000 })
  const other = await bugle.put('other', 'ready')
  const failed = await inserters.failed(db, { queue: 'q' })
  expect(await bugle.cancel({ queue: 'q', kind: 'none' })).toBe(0)
  expect(await bugle.cancel({ queue: 'q', state: 'scheduled' })).toBe(1)
  expect(await bugle.cancel({ queue: 'q' })).toBe(2)
  expect(await aborted.promise).toBe('CANCELLED')
  expect((await fullRows(db)).map(({ id, state }) => [id, state])).toEqual([
    [running, 'running'],
    [ready, 'failed'],
    [scheduled, 'failed'],
    [other, 'ready'],
    [failed, 'failed'],
  ])
  blocked.resolve()
  await consumer.stop()
})

test('discard: by ids and by filter, and never a job that runs', async ({ db, gate }) => {
  const bugle = db.bugle()
  const begun = signal()
  const blocked = gate()
  const running = await bugle.put('q', 'runs')
  const consumer = await bugle.consume('q', async () => {
    begun.resolve()
    await blocked.promise
  })
  await begun.promise
  await consumer.pause()
  const ready = await bugle.put('q', 'ready')
  const scheduled = await bugle.put('q', 'scheduled', { delayMs: 3_600_000 })
  const failed = await inserters.failed(db, { queue: 'q' })
  const archived = await inserters.archived(db, { queue: 'q' })
  const another = await inserters.archived(db, { queue: 'q' })
  expect(await bugle.discard([running, ready, archived, '999', ready])).toBe(2)
  expect(await bugle.discard(ready)).toBe(0)
  for (const state of ['scheduled', 'failed', 'archived', 'ready'] as const) {
    expect(await bugle.discard({ queue: 'other', state })).toBe(0)
    expect(await bugle.discard({ queue: 'q', state }), state).toBe(state === 'ready' ? 0 : 1)
  }
  expect((await bugle.jobs()).jobs.map(({ id }) => id)).toEqual([running])
  expect([scheduled, failed, another]).toHaveLength(3)
  const bad: [unknown, RegExp][] = [
    [{}, /give the state/],
    [{ queue: 'q' }, /give the state/],
    [{ state: 'running' }, /state must be/],
    [{ state: undefined }, /state is undefined/],
    [{ state: 'failed', queue: undefined }, /queue is undefined/],
    [null, /an id \(a string\), ids or a filter/],
    [5, /an id/],
  ]
  for (const [which, message] of bad) {
    expect(await refusal(() => bugle.discard(which as never)), String(message)).toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringMatching(message),
    })
  }
  blocked.resolve()
  await consumer.stop()
})

test('discard: against a claim in flight the job stays if that commits', async ({ db }) => {
  const parts = operator(db)
  const id = await db.bugle().put('q', 1)
  const claim = db.connect()
  await claim.unsafe(`begin; update ${db.s}.job set state = 'running', worker_id = 7`)
  const discarding = discard(parts, id)
  await parts.untilBlocked()
  await claim.unsafe('commit')
  expect(await discarding).toBe(0)
  expect(await fullRows(db)).toMatchObject([{ id, state: 'running' }])
})

test('a filter with a state: what has left that state while a row was locked stays', async ({ db }) => {
  const parts = operator(db)
  const bugle = db.bugle()
  const [failed = '', ready = ''] = await bugle.putMany('q', ['failed', 'ready'])
  await bugle.cancel(failed)
  const other = db.connect()
  const meanwhile = async (change: string, act: () => Promise<number>): Promise<number> => {
    await other.unsafe(`begin; ${change}`)
    const acting = act()
    await parts.untilBlocked()
    await other.unsafe('commit')
    return acting
  }
  expect(
    await meanwhile(`select ${db.s}.requeue(${failed})`, () => discard(parts, { queue: 'q', state: 'failed' })),
  ).toBe(0)
  const claim = `update ${db.s}.job set state = 'running', worker_id = 7 where id = ${ready}`
  expect(await meanwhile(claim, () => cancelMatching(parts, { queue: 'q', state: 'ready', containing: 'ready' }))).toBe(
    0,
  )
  expect(await fullRows(db)).toMatchObject([
    { id: failed, state: 'ready' },
    { id: ready, state: 'running', cancel_requested_at: null },
  ])
})

test('discard of archived jobs leaves a job that somebody has put back by hand', async ({ db }) => {
  const bugle = db.bugle()
  const id = await bugle.put('q', 1)
  await inserters.archived(db, { id, queue: 'q' })
  expect(await bugle.discard({ queue: 'q', state: 'archived' })).toBe(1)
  expect(await fullRows(db)).toMatchObject([{ id, state: 'ready' }])
})
