import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'
import { afterAll, beforeAll, expect, inject } from 'vitest'
import { type EmbeddedPostgres, startEmbedded } from '../../../src/embedded/index.js'
import { createBugle, reject } from '../../../src/index.js'
import { type TestDatabase, test } from '../../support/database.js'
import { putRows } from '../../support/express.js'
import { lanesOpenSoon } from '../../support/lane-consumer.js'
import { until } from '../../support/until.js'

// The server is restarted while a consumer has a lane, and acks are on their way.

const laneConsumer = await lanesOpenSoon()
let server: EmbeddedPostgres
let sql: postgres.Sql | undefined

beforeAll(async () => {
  server = await startEmbedded({ package: inject('serverPackage'), settings: { autovacuum: false } })
  const bugle = createBugle({ connectionString: server.connectionString, logger: false })
  await bugle.migrate()
  await bugle.close()
})

afterAll(async () => {
  await sql?.end({ timeout: 1 })
  await server.stop()
})

/** With connections of their own: those of before a restart are dead. */
async function onServer(db: TestDatabase): Promise<TestDatabase> {
  await sql?.end({ timeout: 0 })
  const own = postgres(server.connectionString, { max: 2, onnotice: () => {} })
  sql = own
  const jobs = async () => [
    ...(await own.unsafe<never[]>('select id, state, attempt, crashes from bugle.job order by id')),
  ]
  return { ...db, connectionString: server.connectionString, schema: 'bugle', s: '"bugle"', sql: own, jobs }
}

for (const mode of ['fast', 'immediate'] as const) {
  test(`express: a ${mode} restart of the server under an open lane: each job is settled once`, async ({ db }) => {
    const here = await onServer(db)
    await here.sql`truncate bugle.job`
    const ids = await putRows(here, 4_000)
    const ran: string[] = []
    let isSlow = true
    const { bugle, consumer, lanes, untilClaimed } = await laneConsumer(here, {
      trusts: 'always',
      patienceMs: 60_000,
      pauses: false,
      consume: { concurrency: 20 },
      handler: async ({ id }) => {
        ran.push(id)
        if (isSlow) await sleep(3)
        return Number(id) % 100 === 0 ? reject('a hundred') : undefined
      },
    })
    const acked = db.collect(bugle, 'job:acked')
    await untilClaimed(3)
    const { length } = lanes
    await server.restart(mode)
    isSlow = false
    await until(() => lanes[length - 1]?.end)
    expect(lanes[length - 1]?.end?.is).toBe('lost')
    const after = await onServer(db)
    const hundreds = ids.filter((id) => Number(id) % 100 === 0)
    await until(async () => (await after.jobs()).every(({ state }) => state === 'failed'))
    await consumer.idle()
    expect((await after.jobs()).map(({ id, state }) => [id, state])).toEqual(hundreds.map((id) => [id, 'failed']))
    await until(() => acked.all.length >= ids.length - hundreds.length)
    expect(new Set([...hundreds, ...acked.all.map(({ id }) => id)])).toEqual(new Set(ids))
    expect(new Set(ran)).toEqual(new Set(ids))
    await bugle.close()
  })
}
