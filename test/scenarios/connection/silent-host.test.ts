import { expect, onTestFinished } from 'vitest'
import { resolveConnection } from '../../../src/database/connection.js'
import { openSession } from '../../../src/database/session.js'
import { loadStatements } from '../../../src/database/statements.js'
import type { BugleOptions } from '../../../src/index.js'
import { startBrokenTls } from '../../support/broken-tls.js'
import { signal, type TestDatabase, test } from '../../support/database.js'
import { startProxy, type Proxy as TestProxy } from '../../support/proxy.js'
import { until } from '../../support/until.js'

async function way(db: TestDatabase): Promise<TestProxy> {
  const { hostname, port } = new URL(db.connectionString)
  const proxy = await startProxy({ host: hostname, port: Number(port) })
  onTestFinished(() => proxy.close())
  return proxy
}

/** Ten minutes for each try: what waits for a silent host does not end within the test's own time-out. */
function through(db: TestDatabase, ...ways: readonly { port: number }[]): BugleOptions {
  const { username, pathname } = new URL(db.connectionString)
  const hosts = ways.map(({ port }) => `127.0.0.1:${port}`).join(',')
  return { connectionString: `postgres://${username}@${hosts}${pathname}?connect_timeout=600` }
}

test('a silent host before a good one holds up nothing: neither the start nor a job', async ({ db }) => {
  const [silent, good] = [await way(db), await way(db)]
  silent.freeze()
  const bugle = db.bugle(through(db, silent, good))
  const ran = signal()
  await bugle.consume('q', () => ran.resolve())
  await until(async () => (await bugle.health()).listener === 'live')
  await bugle.put('q', null)
  await ran.promise
  expect((await bugle.health()).database.server).toMatchObject({ port: good.port })
  await until(() => silent.open === 0)
})

test('a host that falls silent is left by all sessions, whatever was on its way to it', async ({ db }) => {
  const [silent, good] = [await way(db), await way(db)]
  const bugle = db.bugle({ ...through(db, silent, good), rescueAfterMs: 300 })
  const runs: unknown[] = []
  await bugle.consume('q', (job) => void runs.push(job.payload))
  await until(async () => (await bugle.health()).listener === 'live')
  // New connections get no answer; those that exist are cut, as a host that goes down does at its end.
  silent.freeze()
  await db.kill([...(await db.backends('listener')), ...(await db.backends('control')), ...(await db.backends(''))])
  await until(async () => (await bugle.health()).listener === 'live' && (await db.backends('control')).length === 1)
  await bugle.put('q', 'after')
  await until(() => runs.includes('after'))
  await until(() => silent.open === 0)
})

test('prefer: no second try in plain text at a host that is silent', async ({ db }) => {
  const silent = await way(db)
  silent.freeze()
  const url = new URL(through(db, silent).connectionString ?? '')
  url.searchParams.set('connect_timeout', '1')
  const opening = openSession({
    connection: resolveConnection({ connectionString: url.href }, {}),
    stateStatement: loadStatements(db.schema).state,
    name: 'silent',
  })
  await expect(opening).rejects.toThrow(`connecting to 127.0.0.1:${silent.port}: no answer within 1000 ms`)
  expect(silent.connections).toBe(1)
})

test('prefer: sessions and pools take plain text where TLS is accepted and then fails', async ({ db }) => {
  const broken = await startBrokenTls(new URL(db.connectionString))
  onTestFinished(() => broken.close())
  const bugle = db.bugle(through(db, broken))
  await bugle.put('q', 'plain')
  expect((await db.jobs()).map(({ payload }) => payload)).toEqual(['plain'])
  // By the first look; the pools know from it.
  expect(broken.asked).toBe(1)
})
