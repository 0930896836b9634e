import { expect } from 'vitest'
import { giveBack } from '../../../src/consume/statements.js'
import { signal, test } from '../../support/database.js'
import { operator } from '../../support/operator.js'
import { orphans } from '../../support/orphans.js'
import { refuse } from '../../support/refusals.js'
import { fullRows } from '../../support/rows.js'
import { until } from '../../support/until.js'

const quick = { rescueAfterMs: 300 } as const

test('rescue: a job whose key an open transaction has put goes back without it, and all others with theirs', async ({
  db,
}) => {
  const [before = ''] = await orphans(db, 1, { worker_id: '41' })
  const [blocked = ''] = await orphans(db, 1, { key: 'k', worker_id: '42' })
  const [keyed = ''] = await orphans(db, 1, { key: 'other', worker_id: '43' })
  const stranger = db.connect()
  await stranger.unsafe(`begin; insert into ${db.s}.job (queue, key, run_at) values ('q', 'k', now() + interval '1 h')`)

  const bugle = db.bugle(quick)
  const rescued = db.collect(bugle, 'worker:rescued')
  const errors = db.collect(bugle, 'claim:error')
  await bugle.consume('other', () => {})
  const { queue, error } = await errors.next()
  expect(queue).toBe('q')
  expect(error).toMatchObject({
    code: 'JOB_REFUSED',
    message: expect.stringContaining(`job ${blocked} of a dead worker is given back without its key`),
    cause: { code: '55P03' },
  })
  while (rescued.all.length < 3) await rescued.next()
  expect(rescued.all.map(({ deadWorkerId, jobs }) => [deadWorkerId, jobs]).sort()).toEqual([
    ['41', 1],
    ['42', 1],
    ['43', 1],
  ])
  await stranger`commit`
  const rows = await fullRows(db)
  expect(rows.slice(0, 3).map(({ id, state, crashes, key }) => [id, state, crashes, key])).toEqual([
    [before, 'ready', 1, null],
    [blocked, 'ready', 1, null],
    [keyed, 'ready', 1, 'other'],
  ])
  expect(rows[3]).toMatchObject({ state: 'scheduled', key: 'k' })
})

test('rescue: of 600 jobs two that a trigger refuses stay, are told of and tried again; the others go back', async ({
  db,
}) => {
  const ids = await orphans(db, 600)
  const bad = [ids[20] ?? '', ids[590] ?? '']
  const mend = await refuse(db, 'update', `new.id in (${bad.join()})`)
  const bugle = db.bugle(quick)
  const rescued = db.collect(bugle, 'worker:rescued')
  const errors = db.collect(bugle, 'claim:error')
  await bugle.consume('other', () => {})
  expect(await rescued.next()).toEqual({ queue: null, deadWorkerId: '42', jobs: 598 })
  const told = [await errors.next(), await errors.next()].map(({ error }) => error.message)
  expect(told.map((message) => message.split(':')[0]).sort()).toEqual(
    bad.map((id) => `job ${id} of a dead worker cannot be given back; it is tried again`).sort(),
  )
  const running = (await fullRows(db)).filter(({ state }) => state === 'running')
  expect(running).toMatchObject(bad.map((id) => ({ id, worker_id: '42', crashes: 0 })))

  await mend()
  expect(await rescued.next()).toEqual({ queue: null, deadWorkerId: '42', jobs: 2 })
  expect((await fullRows(db)).every(({ state, crashes }) => state === 'ready' && crashes === 1)).toBe(true)
})

test('rescue: a job at the bounds of its counters goes back like any other', async ({ db }) => {
  const most = '4611686018427387904'
  const [id] = await orphans(db, 1, { lease: most, attempt: '1000000000', crashes: '1' })
  const bugle = db.bugle(quick)
  const ran = signal<number>()
  await bugle.consume('q', ({ attempt }) => ran.resolve(attempt))
  expect(await ran.promise).toBe(1_000_000_000)
  await until(async () => (await fullRows(db)).length === 0)
  expect(id).toBeDefined()
})

test('rows of a claim whose answer was lost go back, but for one that the database refuses', async ({ db }) => {
  const ids = await orphans(db, 3, { worker_id: '7' })
  await refuse(db, 'update', `new.id = ${ids[1]}`)
  const { database } = operator(db)
  await database.ready()
  const rows = ids.map((id) => ({ id, lease: '7' }))
  await expect(giveBack(database.query, '7', rows)).rejects.toMatchObject({
    code: 'JOB_REFUSED',
    message: expect.stringContaining(`job ${ids[1]} cannot be given back`),
  })
  expect((await fullRows(db)).map(({ state, attempt }) => [state, attempt])).toEqual([
    ['ready', 0],
    ['running', 1],
    ['ready', 0],
  ])
})
