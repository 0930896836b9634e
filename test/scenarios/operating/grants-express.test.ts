import { expect, onTestFinished } from 'vitest'
import type { Query } from '../../../src/database/database.js'
import { sqlState } from '../../../src/database/verdict.js'
import { openLane, putRows } from '../../support/express.js'
import { test } from '../../support/roles.js'
import { trustingModule } from '../../support/trusting.js'
import { until } from '../../support/until.js'

// The express lane of a role that may no more than `bugle grants --consumer` prints.

test('K grants: a consumer works off a backlog over an express lane, and keeps what does not end with an ack', async ({
  db,
  roles,
}) => {
  const { createBugle } = await trustingModule()
  const connectionString = roles.connectionString('consumer')
  const bugle = createBugle<{ q: number }>({ connectionString, schema: roles.schema, sweepMs: 0, logger: false })
  onTestFinished(() => bugle.close())
  const theirs = { ...db, schema: roles.schema, s: roles.s, connectionString }
  const jobs = 20_000
  const ids = await putRows(theirs, jobs)
  const runs = new Map<string, number>()
  const stateInRun: string[] = []
  const consumer = await bugle.consume(
    'q',
    async ({ id, payload }) => {
      runs.set(id, (runs.get(id) ?? 0) + 1)
      if (payload % 1_000 !== 0) return
      // While its handler runs, a job of a lane is a ready one to others.
      const [row] = await db.sql.unsafe<{ state: string }[]>(`select state from ${roles.s}.job where id = ${id}`)
      stateInRun.push(row?.state ?? 'gone')
      if (payload === jobs) throw new Error('kept, and failed')
    },
    { retryStrategy: false },
  )
  await consumer.idle()
  expect(stateInRun).toContain('ready')
  expect([...runs.keys()].sort()).toEqual([...ids].sort())
  expect(new Set(runs.values())).toEqual(new Set([1]))
  const left = await db.sql.unsafe(`select id, state, attempt from ${roles.s}.job`)
  expect(left).toEqual([{ id: ids.at(-1), state: 'failed', attempt: 1 }])
  expect(await db.sql.unsafe(`select lanes from ${roles.s}.worker`)).toEqual([{ lanes: ['q'] }])
})

test('K grants: a consumer makes a queue calm when it buries a worker that had a lane on it', async ({ db, roles }) => {
  await db.sql.unsafe(`
    insert into ${roles.s}.worker (id, name, host, pid, version, lanes, rescue_after_ms)
    values (7, 'w', 'h', 1, '1', '{"q", "more"}', 300)`)
  await db.sql.unsafe(`insert into ${roles.s}.queue (name) values ('more')`)
  const bugle = roles.bugle('consumer', { rescueAfterMs: 300 })
  await bugle.consume('q', () => {})
  const calm = () =>
    db.sql.unsafe(`select name from ${roles.s}.queue where calm_until > clock_timestamp() order by name`)
  expect(await until(async () => ((await calm()).length > 0 ? calm() : undefined))).toEqual([
    { name: 'more' },
    { name: 'q' },
  ])
  expect(await db.sql.unsafe(`select from ${roles.s}.worker where id = 7`)).toHaveLength(0)
})

test('K grants: a role that may not end its lane’s server process waits for its end, and loses no job', async ({
  db,
  roles,
}) => {
  const theirs = { ...db, schema: roles.schema, s: roles.s, connectionString: roles.connectionString('consumer') }
  // Or it would not even see that session's start, by which it is known.
  await db.sql.unsafe(`grant pg_read_all_stats to "${roles.names.consumer.replaceAll('"', '""')}"`)
  const [acked = '', kept = '', free = ''] = await putRows(theirs, 3)
  const refusals: unknown[] = []
  const lane = await openLane(theirs, {
    // A superuser's process, which only a superuser may end. It hears that its client is gone when its statement ends.
    connectionString: db.connectionString,
    statements: (statements) => ({
      ...statements,
      express_ack: `select 1 as counted from pg_sleep(60) where $1::text <> coalesce($2::text, '')`,
    }),
    query: (query) => {
      const heard: Query = async (name, parameters) => {
        try {
          return await query(name, parameters)
        } catch (error) {
          if (name === 'express_terminate') refusals.push(sqlState(error))
          throw error
        }
      }
      return heard
    },
  })
  const [first, second] = await lane.started()
  first?.begin()
  second?.begin()
  first?.ack()
  const { pid } = lane.session()
  lane.lane.cut()
  await until(async () => {
    const [row] = await db.sql`select wait_event from pg_stat_activity where pid = ${pid}`
    return row?.wait_event === 'PgSleep'
  })
  lane.session().destroy(new Error('the way is gone'))
  // Its rows stay locked: whose the kept job is cannot be known, and the ack goes on trying.
  await until(() => lane.lost.length > 0)
  expect(refusals).toEqual(['42501'])
  expect(lane.lost).toEqual([kept])
  expect(lane.acked).toEqual([])
  expect(await db.sql`select pg_terminate_backend(${pid}) as done`).toEqual([{ done: true }])
  expect(await lane.over).toMatchObject({ is: 'lost' })
  expect(lane.acked).toEqual([[acked, 'durable']])
  expect(await db.sql.unsafe(`select id, state, attempt from ${roles.s}.job order by id`)).toEqual([
    { id: kept, state: 'ready', attempt: 0 },
    { id: free, state: 'ready', attempt: 0 },
  ])
})
