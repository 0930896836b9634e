import postgres from 'postgres'
import { expect, inject, onTestFinished, test } from 'vitest'
import { startBrokenTls } from '../../support/broken-tls.js'
import { pidOf, poolUnderTest, untilAnswered } from '../../support/pool.js'
import { startProxy } from '../../support/proxy.js'
import { until } from '../../support/until.js'

test('a statement that a standby refuses puts all connections in doubt, also with one host', async () => {
  const { pool, doubted } = await poolUnderTest()
  const pid = await pidOf(pool)
  const refused = pool.query(`do $$ begin raise sqlstate '25006'; end $$`, [], 5_000, 'write')
  await expect(refused).rejects.toMatchObject({ code: '25006' })
  await doubted
  await until(async () => (await pidOf(pool)) !== pid)
})

test('a server that is made read only serves nobody, by old connections neither, until it takes writes', async () => {
  const table = `is_read_only_${process.pid}`
  const sql = postgres(inject('connectionString'), { max: 1, onnotice: () => {} })
  onTestFinished(() => sql.end())
  const { pool } = await poolUnderTest({
    poolSize: 1,
    stateStatement: `select to_regclass('public.${table}') is not null as read_only`,
  })
  const pid = await pidOf(pool)
  await sql.unsafe(`create table public.${table} ()`)
  onTestFinished(async () => void (await sql.unsafe(`drop table if exists public.${table}`)))
  const refused = pool.query(`do $$ begin raise sqlstate '25006'; end $$`, [], 5_000, 'write')
  await expect(refused).rejects.toMatchObject({ code: '25006' })
  await expect(pidOf(pool)).rejects.toMatchObject({ code: 'NOT_SENT', cause: { name: 'ReadOnlyError' } })
  await sql.unsafe(`drop table public.${table}`)
  expect(await untilAnswered(pool)).not.toBe(pid)
})

test('a host that is silent while no connection is open is left for another one', async () => {
  const { hostname, port } = new URL(inject('connectionString'))
  const [silent, good] = await Promise.all([1, 2].map(() => startProxy({ host: hostname, port: Number(port) })))
  if (silent === undefined || good === undefined) throw new Error('no proxies')
  onTestFinished(async () => {
    for (const proxy of [silent, good]) await proxy.close()
  })
  // Two minutes for each try.
  const { pool } = await poolUnderTest({ through: [silent, good], parameters: 'connect_timeout=120' })
  silent.freeze()
  expect(await pidOf(pool, 50_000)).toBeGreaterThan(0)
  expect(good.connections).toBeGreaterThan(0)
  await until(() => silent.open === 0)
})

test('when somebody got through, a pool waits for its own pause no more', async () => {
  // Hours.
  const { pool, proxy } = await poolUnderTest({ random: () => 1e6 })
  await proxy.refuse()
  await expect(pidOf(pool)).rejects.toMatchObject({ code: 'NOT_SENT' })
  await proxy.heal()
  const waiting = pidOf(pool, 50_000)
  pool.hurry()
  expect(await waiting).toBeGreaterThan(0)

  // In the middle of a heal as well.
  const healing = await poolUnderTest({ random: () => 1e6 })
  await pidOf(healing.pool)
  healing.proxy.forget()
  await expect(pidOf(healing.pool, 100)).rejects.toMatchObject({ code: 'DEADLINE' })
  await healing.doubted
  healing.pool.hurry()
  await untilAnswered(healing.pool)
})

test('prefer: a pool whose server takes TLS no more goes on in plain text', async () => {
  const broken = await startBrokenTls(new URL(inject('connectionString')))
  const { pool } = await poolUnderTest({ through: [broken], parameters: 'connect_timeout=5', sslmode: 'prefer' })
  await expect(pidOf(pool)).rejects.toMatchObject({ code: 'NOT_SENT' })
  expect(await pidOf(pool)).toBeGreaterThan(0)
  expect(broken.asked).toBe(1)
})
