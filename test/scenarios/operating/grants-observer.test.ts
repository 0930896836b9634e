import { expect } from 'vitest'
import type { Bugle } from '../../../src/index.js'
import { archived, attacks, expectRefusals, failed } from '../../support/attacks.js'
import { type Roles, test } from '../../support/roles.js'

test('K grants: an observer reads, payloads too, and changes nothing', async ({ db, roles }) => {
  const id = await roles.bugle('producer').put('q', 'read', { key: 'k' })
  const [row] = await failed(roles, db)
  await archived(roles, db, '999')
  await db.sql.unsafe(`insert into ${roles.s}.queue (name, paused_at) values ('paused', now())`)
  const bugle = roles.bugle('observer')
  expect(await bugle.job(id)).toMatchObject({ payload: 'read', state: 'ready' })
  expect((await bugle.jobs()).jobs.map(({ payload }) => payload)).toEqual(['archived', 'failed', 'read'])
  await expectLooks(bugle)
  await expectRefusals(roles, {
    ...changes(bugle, id, String(row?.id)),
    ...bySql(roles, 'observer', [
      'update a payload',
      'delete',
      'truncate',
      'lock a row',
      'call cancel',
      'call pause',
      'insert a running job',
      'make a worker',
      'bury workers',
      'delete from the archive',
      'resume a queue',
      'forget a migration',
      'set the sequence',
      'create a function',
    ]),
  })
})

test('K grants: an observer without payloads reads the rest', async ({ db, roles }) => {
  const id = await roles.bugle('producer').put('q', 'secret', { key: 'k' })
  const [row] = await failed(roles, db)
  await archived(roles, db, '999')
  await db.sql.unsafe(`insert into ${roles.s}.queue (name, paused_at) values ('paused', now())`)
  const bugle = roles.bugle('blind')
  const sql = roles.connect('blind')
  const read = `select queue, kind, state, run_at, attempt, key, worker_id from ${roles.s}.job where queue = 'q'`
  expect(await sql.unsafe(read)).toHaveLength(2)
  expect(await sql.unsafe(`select id, queue, finished_at from ${roles.s}.archive`)).toHaveLength(1)
  expect(await sql.unsafe(`select * from ${roles.s}.queue left join ${roles.s}.worker on true`)).toHaveLength(1)
  await expectLooks(bugle)
  await expectRefusals(roles, {
    ...changes(bugle, id, String(row?.id)),
    job: () => bugle.job(id),
    jobs: () => bugle.jobs(),
    ...bySql(roles, 'blind', ['read payloads', 'read rows', 'read a whole row', 'read by a filter', 'delete']),
    progress: () => sql.unsafe(`select progress from ${roles.s}.job`).execute(),
    'last error': () => sql.unsafe(`select last_error from ${roles.s}.job`).execute(),
    'archived payload': () => sql.unsafe(`select payload from ${roles.s}.archive`).execute(),
    result: () => sql.unsafe(`select result from ${roles.s}.archive`).execute(),
  })
})

/** Expects what an observer can see: a queue with a waiting and a failed job, and a paused queue. */
async function expectLooks(bugle: Bugle): Promise<void> {
  expect(await bugle.stats()).toMatchObject({
    queues: [
      { queue: 'paused', isPaused: true },
      { queue: 'q', ready: { count: 1 }, failed: { count: 1 }, oldestReadyMs: expect.any(Number) },
    ],
    workers: [],
  })
  expect(await bugle.health()).toMatchObject({ isHealthy: true, problems: [] })
}

/** The calls of an instance that change something. */
function changes(bugle: Bugle, waiting: string, failedId: string): Record<string, () => Promise<unknown>> {
  return {
    put: () => bugle.put('q', 1),
    'put replace': () => bugle.put('q', 1, { key: 'k', keyMode: 'replace' }),
    'put keep': () => bugle.put('q', 1, { key: 'k', keyMode: 'keep' }),
    'put reject': () => bugle.put('q', 1, { key: 'other', keyMode: 'reject' }),
    putMany: () => bugle.putMany('q', [1, 2]),
    requeue: () => bugle.requeue(failedId),
    'requeue by filter': () => bugle.requeue({}),
    cancel: () => bugle.cancel(waiting),
    pause: () => bugle.pause('q'),
    resume: () => bugle.resume('paused'),
    collect: () => bugle.collect({ failedOlderThanMs: 0 }),
    consume: () => bugle.consume('q', () => {}),
    drain: () => bugle.drain('q', () => {}),
  }
}

/** Some of the attacks, as calls by a role. */
function bySql(
  roles: Roles,
  role: 'observer' | 'blind',
  which: readonly (keyof typeof attacks)[],
): Record<string, () => Promise<unknown>> {
  const sql = roles.connect(role)
  return Object.fromEntries(
    which.map((what) => [what, () => sql.unsafe(attacks[what].replaceAll('{s}', () => roles.s)).execute()]),
  )
}
