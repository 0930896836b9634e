import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'
import { expect, inject, onTestFinished } from 'vitest'
import { createLink } from '../../../src/database/link.js'
import { databaseFault } from '../../../src/database/verdict.js'
import { openAll, pidOf, poolUnderTest, resetNow, socketsTo } from '../../support/pool.js'
import { test } from '../../support/roles.js'
import { until } from '../../support/until.js'

/** A role that may have so many connections, and a superuser's session beside it. */
async function roleWithLimit(connections: number) {
  const sql = postgres(inject('connectionString'), { max: 1, onnotice: () => {} })
  const user = `limited_${process.pid}_${Math.random().toString(36).slice(2)}`
  const limit = (most: number) => sql.unsafe(`alter role ${user} connection limit ${most}`)
  await sql.unsafe(`create role ${user} login`)
  await limit(connections)
  onTestFinished(async () => {
    await sql.unsafe(`drop role ${user}`)
    await sql.end()
  })
  return { sql, user, limit }
}

test('puts of a role that may have fewer connections than the pool wants live with what there is', async ({
  db,
  roles,
}) => {
  const { producer } = roles.names
  await db.sql.unsafe(`alter role "${producer.replaceAll('"', '""')}" connection limit 5`)
  const bugle = roles.bugle('producer', { poolSize: 20 })
  for (let round = 0; round < 10; round += 1) {
    const puts = Array.from({ length: 30 }, (_, n) => bugle.put('q', 30 * round + n))
    expect((await Promise.allSettled(puts)).filter(({ status }) => status === 'rejected')).toEqual([])
  }
  const rows = await db.sql.unsafe(`select distinct payload from ${roles.s}.job`)
  expect(rows).toHaveLength(300)
})

test('a pool that is refused more connections serves the line with those it has, and grows once it may', async () => {
  const { user, limit } = await roleWithLimit(2)
  const { pool, proxy } = await poolUnderTest({ poolSize: 4, user })
  const ask = () => pool.query<{ pid: number }>('select pg_backend_pid() as pid, pg_sleep(0.002)', [], 9_000, 'ask')
  const pidsOfRound = async (): Promise<Set<number | undefined>> => {
    const rows = await Promise.all(Array.from({ length: 40 }, ask))
    return new Set(rows.map(([row]) => row?.pid))
  }
  for (let round = 0; round < 10; round += 1) expect((await pidsOfRound()).size).toBeLessThan(3)
  // Without a pause there is an attempt for each statement that waits.
  expect(proxy.connections).toBeLessThan(40)
  await limit(10)
  await until(async () => (await pidsOfRound()).size === 4)
})

for (const lost of ['reset', 'refused'] as const) {
  test(`a pool whose connections were all ${lost} opens one, until the line is short again`, async () => {
    let later = 0
    // Pauses never end, but by `hurry`.
    const endless = { random: () => 1e5, now: () => performance.now() + later }
    const { pool, proxy } = await poolUnderTest({ poolSize: 3, ...endless })
    await openAll(pool, 3)
    if (lost === 'reset') resetNow(proxy.port)
    else {
      await proxy.refuse()
      await until(() => socketsTo(proxy.port).length === 0)
      const failed = await pool.query('select 1', [], 9_000, 'ask').catch((error) => error)
      expect(databaseFault(failed)).toBe('down')
      await proxy.heal()
      pool.hurry()
    }
    await until(() => socketsTo(proxy.port).length === 0)
    const before = proxy.connections
    await pidOf(pool)
    // What the first answer has set off.
    const pids = new Set(await Promise.all(Array.from({ length: 20 }, () => pidOf(pool))))
    expect([pids.size, proxy.connections - before]).toEqual([1, 1])
    later = 60_000
    await pidOf(pool)
    await openAll(pool, 3)
  })
}

test('after a failure there is one attempt to connect at a time, also while it has no answer', async () => {
  // No pause at all.
  const { pool, proxy } = await poolUnderTest({ poolSize: 3, random: () => -0.5, parameters: 'connect_timeout=5' })
  const ask = () => pool.query('select 1', [], 9_000, 'ask')
  await proxy.refuse()
  expect(databaseFault(await ask().catch((error) => error))).toBe('down')
  await proxy.heal()
  proxy.freeze()
  const before = proxy.connections
  const asked: Promise<unknown>[] = []
  for (let n = 0; n < 5; n += 1) {
    asked.push(ask().catch((error) => error))
    await until(() => proxy.connections > before)
    await sleep(5)
  }
  expect(proxy.connections - before).toBe(1)
  await proxy.heal()
  pool.hurry()
  for (const answer of await Promise.all(asked)) {
    expect(answer instanceof Error ? databaseFault(answer) : 'answered').toMatch(/down|answered/)
  }
})

test('a pool without a connection leaves a silent host alone while nobody asks', async () => {
  const link = { ...createLink(() => performance.now()), connectMs: () => 50 }
  const { pool, proxy, doubted } = await poolUnderTest({ link, random: () => -0.5 })
  proxy.freeze()
  for (let connects = 0; connects < 2; connects += 1) {
    await expect(pidOf(pool)).rejects.toMatchObject({ cause: { code: 'CONNECT_TIMEOUT' } })
  }
  // Its sisters may have connections that are open, and lead nowhere.
  await doubted
  pool.suspect()
  await sleep(200)
  expect(proxy.connections).toBe(2)
  await proxy.heal()
  expect(await pidOf(pool)).toBeGreaterThan(0)
})

test('a pool that is refused every connection says what the server says, and that nothing was sent', async () => {
  const { user } = await roleWithLimit(0)
  const { pool } = await poolUnderTest({ poolSize: 4, user })
  const asked = Array.from({ length: 20 }, () => pool.query('select 1', [], 9_000, 'ask').catch((error) => error))
  for (const error of await Promise.all(asked)) {
    expect(error).toMatchObject({ code: 'NOT_SENT', cause: { code: '53300' } })
    expect(databaseFault(error)).toBe('down')
  }
})

test('a failure of TLS is an outage: nothing was sent', async () => {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    // It says that it has TLS, and then speaks another language.
    socket.once('data', () => {
      socket.write('S')
      socket.once('data', () => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n'))
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const broken = { port, close: async () => void server.close() }
  const { pool } = await poolUnderTest({ through: [broken], sslmode: 'require' })
  const failed = await pool.query('select 1', [], 9_000, 'ask').catch((error) => error)
  expect(failed).toMatchObject({ code: 'NOT_SENT', cause: { code: expect.stringMatching(/SSL|EPROTO/) } })
  expect(databaseFault(failed)).toBe('down')
})
