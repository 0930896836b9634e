import { execFileSync } from 'node:child_process'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import { afterAll, beforeAll, expect, inject, onTestFinished } from 'vitest'
import { type EmbeddedPostgres, startEmbedded } from '../../../src/embedded/index.js'
import { createBugle } from '../../../src/index.js'
import { type TestDatabase, test } from '../../support/database.js'
import { ackAll, insertWorker, openLane, putRows } from '../../support/express.js'
import { startProxy } from '../../support/proxy.js'

// A server that crashes, and forgets what nobody has waited for: it writes its log only for those whose commits wait.

let server: EmbeddedPostgres
let sql: postgres.Sql | undefined

beforeAll(async () => {
  const settings = { wal_writer_delay: '10s', autovacuum: false }
  server = await startEmbedded({ package: inject('serverPackage'), settings })
  const bugle = createBugle({ connectionString: server.connectionString, logger: false })
  await bugle.migrate()
  await bugle.close()
})

afterAll(async () => {
  await sql?.end({ timeout: 1 })
  await server.stop()
})

/** With connections of their own: those of before a crash are dead. */
async function onServer(db: TestDatabase): Promise<TestDatabase> {
  await sql?.end({ timeout: 0 })
  sql = postgres(server.connectionString, { max: 1, onnotice: () => {} })
  return { ...db, connectionString: server.connectionString, schema: 'bugle', s: '"bugle"', sql }
}

async function rowsAfterCrash(db: TestDatabase): Promise<{ id: string; state: string }[]> {
  const { sql } = await onServer(db)
  return [...(await sql.unsafe<{ id: string; state: string }[]>('select id, state from bugle.job order by id'))]
}

test('express: what was told as acked stays so when the server crashes at that moment', async ({ db }) => {
  const here = await onServer(db)
  await here.sql`truncate bugle.job`
  const ids = await putRows(here, 20)
  const { started, over, acked } = await openLane(here, { claims: 2, limit: 10 })
  ackAll(await started())
  ackAll(await started())
  expect(await over).toEqual({ is: 'closed' })
  expect(acked).toEqual(ids.map((id) => [id, 'durable']))
  await server.restart('immediate')
  expect(await rowsAfterCrash(db)).toEqual([])
})

test('express: the server crashes under a batch: its acks go alone to the next one, and what ran runs on', async ({
  db,
}) => {
  const here = await onServer(db)
  await here.sql`truncate bugle.job`
  const [acks = '', runs = '', waits = ''] = await putRows(here, 3)
  const { started, over, acked, lost } = await openLane(here)
  const [first, second, third] = await started()
  first?.begin()
  second?.begin()
  first?.ack()
  await server.restart('immediate')
  expect(await second?.keep()).toBe(true)
  expect(await over).toMatchObject({ is: 'lost' })
  expect(third?.begin()).toBe(false)
  expect(acked).toEqual([[acks, 'durable']])
  expect(lost).toEqual([])
  expect(await rowsAfterCrash(db)).toEqual([
    { id: runs, state: 'running' },
    { id: waits, state: 'ready' },
  ])
})

test('express: acks that go alone after a failover are not of jobs to which all numbers were given again', async ({
  db,
}) => {
  const directory = await mkdtemp(join(tmpdir(), 'bugle-lane-'))
  await chmod(directory, 0o755)
  const start = async (name: string): Promise<EmbeddedPostgres> => {
    const dataDir = join(directory, name)
    const settings = { autovacuum: false }
    const started = await startEmbedded({ package: inject('serverPackage'), dataDir, settings, durability: 'off' })
    onTestFinished(() => started.stop())
    return started
  }
  onTestFinished(() => rm(directory, { recursive: true, force: true }))
  const maker = await start('one')
  const bugle = createBugle({ connectionString: maker.connectionString, logger: false })
  await bugle.migrate()
  await bugle.close()
  await maker.stop()
  // What the standby knows when it takes over.
  execFileSync('cp', ['-a', join(directory, 'one'), join(directory, 'other')])
  const [one, other] = [await start('one'), await start('other')]

  /** The same on each: so all numbers are the same, and only the time is not. */
  async function put(to: EmbeddedPostgres) {
    const connection = postgres(to.connectionString, { max: 1, onnotice: () => {} })
    onTestFinished(() => connection.end({ timeout: 0 }))
    const here = { ...db, connectionString: to.connectionString, schema: 'bugle', s: '"bugle"', sql: connection }
    const ids = await connection<{ id: string }[]>`
      insert into bugle.job (queue, run_at) select 'q', '2020-01-01Z' from generate_series(1, 3) returning id`
    const rows = await connection`select id, lease, xmin::text, ctid::text, run_at from bugle.job order by id`
    return { here, ids: ids.map(({ id }) => id), rows: [...rows] }
  }

  const proxy = await startProxy({ host: '127.0.0.1', port: one.port })
  onTestFinished(() => proxy.close())
  const first = await put(one)
  const way = new URL(one.connectionString)
  way.port = String(proxy.port)
  const { started, over, acked, lost } = await openLane({ ...first.here, connectionString: way.href })
  const [job, second] = await started()
  job?.begin()
  second?.begin()
  job?.ack()
  const then = await put(other)
  expect([then.ids, then.rows]).toEqual([first.ids, first.rows])
  await insertWorker(then.here, '7')
  proxy.moveTo({ host: '127.0.0.1', port: other.port })
  proxy.reset()
  expect(await second?.keep()).toBe(false)
  expect(await over).toMatchObject({ is: 'lost' })
  // The rows that they were of are gone with the former server.
  expect(acked).toEqual([[first.ids[0], 'durable']])
  expect(lost).toEqual([first.ids[1]])
  const left = await then.here.sql`select id, state from bugle.job order by id`
  expect(left).toEqual(then.ids.map((id) => ({ id, state: 'ready' })))
})
