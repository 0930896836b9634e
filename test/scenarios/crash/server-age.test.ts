import postgres from 'postgres'
import { afterAll, beforeAll, expect, inject, onTestFinished, test } from 'vitest'
import { loadStatements } from '../../../src/database/statements.js'
import { type EmbeddedPostgres, startEmbedded } from '../../../src/embedded/index.js'
import { createBugle } from '../../../src/index.js'
import { until } from '../../support/until.js'

const schema = 'bugle'
let server: EmbeddedPostgres
/** It cannot tell. */
const isOld = inject('serverPackage').endsWith('-13')

beforeAll(async () => {
  server = await startEmbedded({ package: inject('serverPackage') })
  const bugle = createBugle({ connectionString: server.connectionString, schema, logger: false })
  await bugle.migrate()
  await bugle.close()
})

afterAll(() => server?.stop())

/** With a connection of its own: those of before a crash are dead. */
async function look(): Promise<{ upMs: number; started: string; pid: number }> {
  const sql = postgres(server.connectionString, { max: 1, onnotice: () => {} })
  onTestFinished(() => sql.end({ timeout: 1 }))
  const [row] = await sql.unsafe(loadStatements(schema).presence_take, ['7'])
  const [of] = await sql`select pg_postmaster_start_time()::text as started`
  return { upMs: row?.up_ms, started: of?.started, pid: row?.pid }
}

test('server age: a server before 15 cannot tell it, and counts as young', async ({ skip }) => {
  if (!isOld) skip()
  expect((await look()).upMs).toBe(0)
})

test('server age: what began anew as one backend was killed is young, though it keeps its start time', async ({
  skip,
}) => {
  if (isOld) skip()
  await until(async () => (await look()).upMs > 500)
  const before = await look()
  const killedAt = performance.now()
  process.kill(before.pid, 'SIGKILL')
  await until(() =>
    look().then(
      ({ upMs }) => upMs < before.upMs,
      () => false,
    ),
  )
  const after = await look()
  expect(after.started).toBe(before.started)
  expect(after.upMs).toBeGreaterThan(0)
  expect(after.upMs).toBeLessThanOrEqual(performance.now() - killedAt)
})
