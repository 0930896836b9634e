import { expect } from 'vitest'
import { test } from '../../support/gates.js'
import { refusal } from '../../support/refusal.js'
import { atLeast, exactly, insert, insertWorker, none, queueOf } from '../../support/stats.js'

const ready = `'ready', now(), null::bigint, null::timestamptz`

test('H1 nothing is there', async ({ db }) => {
  expect(await db.bugle().stats()).toEqual({ queues: [], areAllQueues: true, workers: [] })
})

test(
  'H1 jobs of every state are counted, in queues that are known by one of them alone, or by a pause, or by a ' +
    'consumer',
  async ({ db }) => {
    const bugle = db.bugle()
    await insert(
      db,
      'queue, state, run_at, worker_id, finished_at',
      `select 'mixed', ${ready} from generate_series(1, 5)
     union all select 'mixed', 'scheduled', now() + interval '1 h', null, null from generate_series(1, 4)
     union all select 'mixed', 'running', now(), 7, null from generate_series(1, 3)
     union all select 'mixed', 'failed', now(), null, now() from generate_series(1, 2)
     union all select 'a ready', ${ready}
     union all select 'a scheduled', 'scheduled', now() + interval '1 h', null, null
     union all select 'a running', 'running', now(), 8, null
     union all select 'a failed', 'failed', now(), null, now()`,
    )
    await bugle.pause('a paused')
    await bugle.pause('a resumed')
    await bugle.resume('a resumed')
    await insertWorker(db, 9, '0 s', [{ queue: 'a consumed', concurrency: 3, kinds: null, isPaused: false }])

    const { queues, areAllQueues } = await bugle.stats()
    const empty = { isPaused: false, ready: none, scheduled: none, running: none, failed: none, oldestReadyMs: null }
    const unserved = { workers: 0, slots: 0, here: null }
    const age = expect.any(Number)
    const one = exactly(1)
    expect(queues).toEqual([
      { queue: 'a consumed', ...empty, workers: 1, slots: 3, here: null },
      { queue: 'a failed', ...empty, ...unserved, failed: one },
      { queue: 'a paused', ...empty, ...unserved, isPaused: true },
      { queue: 'a ready', ...empty, ...unserved, ready: one, oldestReadyMs: age },
      { queue: 'a resumed', ...empty, ...unserved },
      { queue: 'a running', ...empty, ...unserved, running: one },
      { queue: 'a scheduled', ...empty, ...unserved, scheduled: one },
      {
        queue: 'mixed',
        ...empty,
        ...unserved,
        ready: exactly(5),
        scheduled: exactly(4),
        running: exactly(3),
        failed: exactly(2),
        oldestReadyMs: age,
      },
    ])
    expect(areAllQueues).toBe(true)
    // Stats find the same without our session settings, as through a pooler.
    const plain = await db.bugle({ prepare: false }).stats()
    expect(plain.queues.map(({ queue }) => queue)).toEqual(queues.map(({ queue }) => queue))
    expect(queueOf(plain, 'mixed')).toMatchObject({ ready: exactly(5), failed: exactly(2), running: exactly(3) })
  },
)

test('H1 of one queue: that one, whether or not it has anything, and the workers that consume it', async ({ db }) => {
  const bugle = db.bugle()
  await insert(
    db,
    'queue, state, run_at, worker_id, finished_at',
    `select 'a', ${ready} union all select 'b', ${ready}`,
  )
  await insertWorker(db, 1, '0 s', [{ queue: 'a', concurrency: 3, kinds: null, isPaused: false }])
  await insertWorker(db, 2, '0 s', [{ queue: 'b', concurrency: 4, kinds: null, isPaused: false }])
  expect(await bugle.stats('b')).toMatchObject({
    queues: [{ queue: 'b', ready: exactly(1), workers: 1, slots: 4 }],
    workers: [{ id: '2' }],
  })
  expect(await bugle.stats('it’s "c" \\ {}')).toMatchObject({
    queues: [{ queue: 'it’s "c" \\ {}', ready: none, oldestReadyMs: null, workers: 0 }],
    workers: [],
  })
  expect(await refusal(() => bugle.stats(''))).toMatchObject({ code: 'INVALID_QUEUE' })
  await bugle.close()
  expect(await refusal(() => bugle.stats())).toMatchObject({ code: 'CLOSED' })
  expect(await refusal(() => db.bugle({ schema: 'nowhere' }).stats())).toMatchObject({ code: 'NOT_MIGRATED' })
})

test('H1 counts are exact up to 10,000, and then at least so many; the failed ones of all queues together', async ({
  db,
}) => {
  const bugle = db.bugle()
  const columns = 'queue, state, run_at, worker_id, finished_at'
  const many = (number: number, rest: string) =>
    insert(db, columns, `select ${rest} from generate_series(1, ${number})`)
  await many(10_000, `'exact', ${ready}`)
  await many(10_001, `'more', ${ready}`)
  await many(10_000, `'exact', 'scheduled', now() + interval '1 h', null::bigint, null::timestamptz`)
  await many(10_001, `'more', 'scheduled', now() + interval '1 h', null::bigint, null::timestamptz`)
  await many(9_999, `'exact', 'running', now(), 7, null::timestamptz`)
  await many(1, `'more', 'running', now(), 7, null::timestamptz`)
  await many(9_000, `'exact', 'failed', now(), null::bigint, now()`)
  await many(1_000, `'more', 'failed', now(), null::bigint, now() - interval '1 day'`)

  expect((await bugle.stats()).queues).toMatchObject([
    {
      queue: 'exact',
      ready: exactly(10_000),
      scheduled: exactly(10_000),
      running: exactly(9_999),
      failed: exactly(9_000),
    },
    { queue: 'more', ready: atLeast(10_000), scheduled: atLeast(10_000), running: exactly(1), failed: exactly(1_000) },
  ])

  // One more failed job is beyond the bound. The oldest failed job is the one that is left out.
  await many(1, `'exact', 'failed', now(), null::bigint, now()`)
  const { queues } = await bugle.stats()
  expect(queues).toMatchObject([
    { queue: 'exact', failed: atLeast(9_001) },
    { queue: 'more', failed: atLeast(1_000) },
  ])
  await many(2, `'exact', 'failed', now(), null::bigint, now()`)
  expect(queueOf(await bugle.stats(), 'more')?.failed).toEqual(atLeast(998))
  for (const { running } of queues) expect(running.isExact).toBe(true)
  await many(1, `'exact', 'running', now(), 8, null::timestamptz`)
  for (const { running } of (await bugle.stats()).queues) expect(running.isExact).toBe(false)
})

test('H1 many queues share what is counted of them; of one alone it is 10,000', async ({ db }) => {
  await insert(db, 'queue', `select 'q' || n from generate_series(1, 1000) as n`)
  await insert(db, 'queue', `select 'q1' from generate_series(1, 500)`)
  await insert(db, 'queue', `select 'q2' from generate_series(1, 499)`)
  const bugle = db.bugle()
  const all = await bugle.stats()
  expect(queueOf(all, 'q1')?.ready).toEqual(atLeast(500))
  expect(queueOf(all, 'q2')?.ready).toEqual(exactly(500))
  expect(queueOf(await bugle.stats('q1'), 'q1')?.ready).toEqual(exactly(501))
})

test('H1 the oldest ready job is seen behind a deep queue of a higher priority; also of the lowest of many', async ({
  db,
}) => {
  const bugle = db.bugle()
  const hourMs = 3_600_000
  await insert(db, 'queue, priority', `select 'deep', 5 from generate_series(1, 10050)`)
  expect(queueOf(await bugle.stats(), 'deep')?.oldestReadyMs).toBeLessThan(hourMs)
  await insert(db, 'queue, priority, run_at', `select 'deep', 3, now() - interval '2 h' from generate_series(1, 2)`)
  await insert(db, 'queue, priority', `select 'deep', 1`)
  const starving = queueOf(await bugle.stats(), 'deep')
  expect(starving?.oldestReadyMs).toBeGreaterThan(2 * hourMs)
  expect(starving?.oldestReadyMs).toBeLessThan(3 * hourMs)
  await insert(
    db,
    'queue, priority, run_at',
    `select 'deep', -n, now() - case when n = 300 then interval '5 h' else interval '0' end
     from generate_series(1, 300) as n`,
  )
  expect(queueOf(await bugle.stats(), 'deep')?.oldestReadyMs).toBeGreaterThan(5 * hourMs)
})

test('H1 more queues than are listed: the first thousand by name, and it says so', async ({ db }) => {
  await insert(db, 'queue', `select 'q' || to_char(n, 'FM0000') from generate_series(1, 1000) as n`)
  const bugle = db.bugle()
  expect(await bugle.stats()).toMatchObject({ areAllQueues: true, queues: { length: 1_000 } })
  await insert(
    db,
    'queue, state, run_at',
    `select 'q0500' || name, 'scheduled', now() + interval '1 h' from unnest('{b,c,d}'::text[]) as name`,
  )
  const { queues, areAllQueues } = await bugle.stats()
  expect(areAllQueues).toBe(false)
  expect(queues).toHaveLength(1_000)
  expect(queues.slice(500, 503).map(({ queue }) => queue)).toEqual(['q0500b', 'q0500c', 'q0500d'])
  expect(queues.at(-1)?.queue).toBe('q0997')
})
