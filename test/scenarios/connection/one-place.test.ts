import { createServer, type Socket } from 'node:net'
import { expect, onTestFinished } from 'vitest'
import type { BugleOptions } from '../../../src/index.js'
import { type TestDatabase, test } from '../../support/database.js'
import { startProxy } from '../../support/proxy.js'
import { untilAsleep } from '../../support/sleepers.js'
import { until } from '../../support/until.js'

/** A consumer asleep behind a proxy. TLS would be one more thing to ask for. */
async function sleeperBehindProxy(db: TestDatabase, options: BugleOptions = {}) {
  const { hostname, port, username, pathname } = new URL(db.connectionString)
  const proxy = await startProxy({ host: hostname, port: Number(port) })
  onTestFinished(() => proxy.close())
  const bugle = db.bugle({
    connectionString: `postgres://${username}@127.0.0.1:${proxy.port}${pathname}?sslmode=disable`,
    ...options,
  })
  const ran: unknown[] = []
  const consumer = await bugle.consume('q', ({ payload }) => void ran.push(payload))
  await untilAsleep(db, 'q')
  return { bugle, consumer, proxy, ran, down: db.collect(bugle, 'database:down'), up: db.collect(bugle, 'database:up') }
}

/** A server that starts, and says so to whoever comes. */
async function startStarting() {
  const sockets = new Set<Socket>()
  const seen = { open: 0, most: 0, all: 0 }
  const fields = ['SFATAL', 'VFATAL', 'C57P03', 'Mthe database system is starting up'].map((field) => `${field}\0`)
  const body = Buffer.from(`${fields.join('')}\0`)
  const refusal = Buffer.alloc(5 + body.length)
  refusal.write('E')
  refusal.writeInt32BE(4 + body.length, 1)
  body.copy(refusal, 5)
  const server = createServer((socket) => {
    sockets.add(socket)
    seen.all += 1
    seen.open += 1
    seen.most = Math.max(seen.most, seen.open)
    socket.on('error', () => {})
    socket.on('close', () => {
      sockets.delete(socket)
      seen.open -= 1
    })
    // It has much to do.
    socket.once('data', () => setTimeout(() => socket.end(refusal), 20))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the server has no port')
  return { port: address.port, seen }
}

test('after an outage a process makes at most four connections: for statements, locks and notifications', async ({
  db,
}) => {
  const { bugle, proxy, ran, down, up } = await sleeperBehindProxy(db)
  await proxy.refuse()
  await down.next()
  await untilGone(db)
  const before = proxy.connections
  await proxy.heal()
  await up.next()
  await untilAsleep(db, 'q')
  console.log(`one place: ${proxy.connections - before} connections after an outage`)
  expect(proxy.connections - before).toBeLessThanOrEqual(4)
  await bugle.put('q', 'after it')
  await until(() => ran.includes('after it'))
})

test('while the server starts, one place of a process tries for all', async ({ db }) => {
  const { bugle, proxy, ran, down, up } = await sleeperBehindProxy(db)
  const { port, seen } = await startStarting()
  proxy.moveTo({ host: '127.0.0.1', port })
  await db.kill([...(await db.backends('')), ...(await db.backends('control')), ...(await db.backends('listener'))])
  await down.next()
  // What was on its way before that was known.
  await until(() => seen.open === 0)
  Object.assign(seen, { most: 0, all: 0 })
  await until(() => seen.all >= 3)
  expect(seen.most).toBe(1)
  const { hostname, port: own } = new URL(db.connectionString)
  proxy.moveTo({ host: hostname, port: Number(own) })
  await up.next()
  await untilAsleep(db, 'q')
  await bugle.put('q', 'after it')
  await until(() => ran.includes('after it'))
})

test("where only sessions are missing, the first connection after an outage is the pool's, and it is kept", async ({
  db,
}) => {
  const { consumer, proxy, down, up } = await sleeperBehindProxy(db, {
    rescueAfterMs: 3_600_000,
    hungAfterMs: 3_600_000,
  })
  await consumer.pause()
  const shown = `select from ${db.s}.worker where consumers->0->>'isPaused' = 'true'`
  await until(async () => (await db.sql.unsafe(shown)).length === 1)
  // From here on nothing is asked of the pool.
  await proxy.refuse()
  await down.next()
  await untilGone(db)
  const before = proxy.connections
  await proxy.heal()
  await up.next()
  await until(async () => (await db.backends('listener')).length === 1)
  const [pool = 0, control, listener] = await Promise.all(
    (['', 'control', 'listener'] as const).map(async (role) => (await db.backends(role)).length),
  )
  expect([control, listener]).toEqual([1, 1])
  // One, and a second one where a busy machine lets statements wait for the first. None was opened in vain.
  expect([1, 2]).toContain(pool)
  expect(proxy.connections - before).toBe(pool + 2)
})

/** The server has missed all of the instance's sessions. */
async function untilGone(db: TestDatabase): Promise<void> {
  for (const role of ['', 'control', 'listener'] as const) {
    await until(async () => (await db.backends(role)).length === 0)
  }
}
