import postgres from 'postgres'
import { afterAll, beforeAll, expect, inject } from 'vitest'
import { type EmbeddedPostgres, startEmbedded } from '../../../src/embedded/index.js'
import { createBugle } from '../../../src/index.js'
import { type TestDatabase, test } from '../../support/database.js'
import { ackAll, openLane, putRows } from '../../support/express.js'

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
