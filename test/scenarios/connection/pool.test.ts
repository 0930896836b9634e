import { type AddressInfo, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'
import { expect, inject, onTestFinished, test } from 'vitest'
import { openAll, pidOf, poolUnderTest, socketsTo, untilAnswered } from '../../support/pool.js'
import { startProxy } from '../../support/proxy.js'
import { until } from '../../support/until.js'

test('a half-open connection is given up at the first expired deadline; statements go through new ones', async () => {
  const { pool, proxy, doubted } = await poolUnderTest()
  const pids = await openAll(pool, 3)
  // Those that exist are swallowed, as by a firewall that has forgotten them; new ones are not.
  proxy.forget()
  const connections = proxy.connections
  await expect(pidOf(pool, 200)).rejects.toMatchObject({ code: 'DEADLINE' })
  await doubted
  const pid = await untilAnswered(pool)
  expect(pids).not.toContain(pid)
  expect(proxy.connections).toBeGreaterThan(connections)
  expect(await Promise.all([pidOf(pool), pidOf(pool), pidOf(pool)])).not.toContain(0)
})

test('a statement of the old instance that fails after the swap casts no doubt on the new one', async () => {
  let doubts = 0
  const { pool, proxy } = await poolUnderTest({
    onDoubt: () => {
      doubts += 1
    },
  })
  await openAll(pool, 3)
  proxy.forget()
  const late = pidOf(pool, 3_000).catch((error) => error.code)
  await expect(pidOf(pool, 200)).rejects.toMatchObject({ code: 'DEADLINE' })
  const pid = await untilAnswered(pool)
  const before = doubts
  expect(await late).toBe('DEADLINE')
  expect(doubts).toBe(before)
  expect(await pidOf(pool)).toBe(pid)
})

test('what no connection had taken when the instance was swapped is sent by the new one, and once', async () => {
  const { pool, proxy } = await poolUnderTest()
  await openAll(pool, 3)
  const name = `handed_over_${process.pid}`
  await pool.query(`create sequence ${name}`, [], 5_000, 'create')
  proxy.forget()
  const swallowed = [200, 9_000, 9_000].map((ms) => pidOf(pool, ms).catch((error) => error.code))
  // Behind them in the queue: it has time for the swap, but not for those in front.
  expect(await pool.query('select nextval($1) as n', [name], 5_000, 'next')).toEqual([{ n: '1' }])
  expect(await swallowed[0]).toBe('DEADLINE')
  expect(await pool.query(`select last_value as n from ${name}`, [], 5_000, 'last')).toEqual([{ n: '1' }])
  await pool.query(`drop sequence ${name}`, [], 5_000, 'drop')
})

test('two connects in a row without an answer: a new instance is tried until the way is free', async () => {
  const { pool, proxy, doubted } = await poolUnderTest()
  proxy.freeze()
  for (let connects = 0; connects < 2; connects += 1) {
    const failed = expect(pidOf(pool, 5_000)).rejects
    await failed.toMatchObject({ code: 'NOT_SENT', cause: { code: 'CONNECT_TIMEOUT' } })
  }
  await doubted
  await proxy.heal()
  expect(await untilAnswered(pool)).toBeGreaterThan(0)
})

test('no tight loop connects to a server that accepts and drops, and the statement is reported unsent', async () => {
  const { pool, proxy } = await poolUnderTest()
  proxy.drop()
  const asked = [1, 2, 3].map(() => pidOf(pool, 1_500).catch((error) => error))
  for (const error of await Promise.all(asked)) expect(error).toMatchObject({ code: 'NOT_SENT' })
  // Three places, and the probes of the heal. Without a pause there are thousands.
  expect(proxy.connections).toBeLessThan(60)
  await proxy.heal()
  expect(await untilAnswered(pool)).toBeGreaterThan(0)
})

test('a healthy statement of the old instance is answered after the swap, and then the old one is gone', async () => {
  const { pool, proxy } = await poolUnderTest()
  const sql = postgres(inject('connectionString'), { max: 1 })
  onTestFinished(() => sql.end())
  const name = `beside_the_old_${process.pid}`
  await sql`create sequence ${sql(name)}`
  await sql`select pg_advisory_lock(815)`
  const wait = (ms: number) =>
    pool.query<{ pid: number }>(
      'select pg_backend_pid() as pid, pg_advisory_lock_shared(815), pg_advisory_unlock_shared(815)',
      [],
      ms,
      'wait',
    )
  const held = [wait(20_000), wait(20_000)]
  const waiting = async () =>
    (await sql`select pid from pg_locks where objid = 815 and not granted`).map(({ pid }) => pid)
  await until(async () => (await waiting()).length >= 2)
  const expired = expect(wait(400)).rejects.toMatchObject({ code: 'DEADLINE' })
  // In the queue of the old one, behind all its connections: handed over, it must not be run by the old one as well.
  expect(await pool.query('select nextval($1) as n', [name], 10_000, 'next')).toEqual([{ n: '1' }])
  await expired
  const old = await waiting()
  expect(old).not.toContain(await pidOf(pool))
  // Longer than any farewell: an old one that is ended before its time would be gone.
  await sleep(300)
  await sql`select pg_advisory_unlock(815)`
  for (const { pid } of (await Promise.all(held)).flat()) expect(old).toContain(pid)
  const left = async () => (await sql`select from pg_stat_activity where pid = any (${old})`).length
  await until(async () => (await left()) === 0)
  expect(await sql`select last_value as n from ${sql(name)}`).toMatchObject([{ n: '1' }])
  await sql`drop sequence ${sql(name)}`
  // Those of the new instance.
  expect(proxy.open).toBeGreaterThan(0)
  await pool.end()
  await until(() => proxy.open === 0)
})

test('an end leaves no socket to a side that does not answer its farewell', async () => {
  const accepted: Socket[] = []
  const silent = createServer({ allowHalfOpen: true }, (socket) => accepted.push(socket.resume()))
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    for (const socket of accepted) socket.destroy()
    silent.close()
  })
  const { port } = silent.address() as AddressInfo
  const ours = (): number =>
    process.getActiveResourcesInfo().filter((kind) => kind === 'TCPSocketWrap').length - accepted.length
  const before = ours()
  const { pool } = await poolUnderTest({ through: [{ port, close: async () => {} }] })
  const asked = [1, 2, 3].map(() => pidOf(pool).catch((error) => error.code))
  // The first one alone, with the others behind it.
  await until(() => accepted.length === 1)
  await pool.end(0)
  expect(await Promise.all(asked)).toEqual(Array(3).fill('NOT_SENT'))
  // Handles are closed in the turn after.
  await sleep(1)
  expect(ours()).toBe(before)
})

test('with several hosts the next one is taken when the first refuses, and a standby is none', async () => {
  const { hostname, port } = new URL(inject('connectionString'))
  const first = await startProxy({ host: hostname, port: Number(port) })
  const second = await startProxy({ host: hostname, port: Number(port) })
  const { pool } = await poolUnderTest({ through: [first, second] })
  await pidOf(pool)
  expect([first.connections > 0, second.connections]).toEqual([true, 0])
  await first.refuse()
  expect(await untilAnswered(pool)).toBeGreaterThan(0)
  expect(second.connections).toBeGreaterThan(0)

  const sql = postgres(inject('connectionString'), { max: 1, onnotice: () => {} })
  onTestFinished(() => sql.end())
  const table = `is_standby_${process.pid}`
  const stateStatement = `select to_regclass('${table}') is not null as standby`
  const standby = await poolUnderTest({ through: [first, second], stateStatement })
  await first.heal()
  await pidOf(standby.pool)
  await sql`create table ${sql(table)} ()`
  onTestFinished(async () => void (await sql`drop table ${sql(table)}`))
  await first.refuse()
  let isDoubted = false
  void standby.doubted.then(() => {
    isDoubted = true
  })
  // The first may only tell that its connection was cut.
  await until(async () => {
    await pidOf(standby.pool).catch(() => {})
    return isDoubted
  })
  const connections = second.connections
  await until(() => second.connections >= connections + 2)
  await expect(pidOf(standby.pool, 500)).rejects.toMatchObject({ code: expect.stringMatching(/ECONNREFUSED|NOT_SENT/) })
})

test('an end in the middle of a heal comes by its deadline, and leaves no connection', async () => {
  for (let turn = 0; turn < 10; turn += 1) {
    const { pool, proxy, doubted } = await poolUnderTest()
    await openAll(pool, 2)
    if (turn % 2 === 0) proxy.forget()
    else proxy.freeze()
    const asked = [pidOf(pool, 50), pidOf(pool, 9_000), pidOf(pool, 9_000), pidOf(pool, 9_000)].map((answer) =>
      answer.then(
        () => 'answered',
        (error) => error.code,
      ),
    )
    await doubted
    // In the pause, while the probe connects, waits for its answer, after the swap.
    await sleep(turn * 11)
    const endedAt = performance.now()
    await pool.end(endedAt + 100)
    expect(performance.now() - endedAt).toBeLessThan(500)
    for (const code of await Promise.all(asked)) expect(code).toMatch(/DEADLINE|CONNECTION|NOT_SENT|answered/)
    expect(performance.now() - endedAt).toBeLessThan(500)
    await until(() => proxy.open === 0)
    await expect(pidOf(pool)).rejects.toMatchObject({ code: 'NOT_SENT' })
    const { connections } = proxy
    await sleep(150)
    expect(proxy.connections).toBe(connections)
  }
})

test('a statement refused for what it says was answered; one that the server would not run was not', async () => {
  const answeredBy: number[] = []
  const { pool } = await poolUnderTest({ onAnswered: (openedAt) => answeredBy.push(openedAt) })
  const run = (text: string) => pool.query(text, [], 5_000, 'a test').catch(({ code }) => code)
  const raise = (code: string) => run(`do $$ begin raise exception using errcode = '${code}'; end $$`)
  expect([await run('select 1 / 0'), await raise('57014')]).toEqual(['22012', '57014'])
  const [first] = answeredBy
  expect(answeredBy).toEqual([first, first])
  expect([await raise('25006'), await raise('57P03')]).toEqual(['25006', '57P03'])
  expect(answeredBy).toHaveLength(2)
})

test('a pool whose sister is in doubt heals too, unless it was answered lately', async () => {
  let time = 0
  const { pool, proxy } = await poolUnderTest({ now: () => time })
  const pid = await pidOf(pool)
  pool.suspect()
  // Longer than the pause before a heal.
  await sleep(200)
  expect(await pidOf(pool)).toBe(pid)
  time += 6_000
  pool.suspect()
  await until(async () => (await pidOf(pool)) !== pid)
  expect(proxy.connections).toBe(2)
})

test('a connection is opened at once where the last one served, and later and later where they failed', async () => {
  const { pool, proxy } = await poolUnderTest({ poolSize: 1 })
  proxy.drop()
  const attempt = async (): Promise<number> => {
    const before = performance.now()
    await expect(pidOf(pool)).rejects.toMatchObject({ code: 'NOT_SENT' })
    return performance.now() - before
  }
  const waits = [await attempt(), await attempt(), await attempt(), await attempt(), await attempt()]
  expect(waits[4]).toBeGreaterThan(350)
  expect(waits[0]).toBeLessThan(350)
  await proxy.heal()
  expect(await pidOf(pool)).toBeGreaterThan(0)
  proxy.drop()
  // The pool has seen it as well.
  await until(() => socketsTo(proxy.port).length === 0)
  expect(await attempt()).toBeLessThan(350)
})

test('a pool that opens many connections at once makes Node print no warning', async () => {
  const warnings: Error[] = []
  const note = (warning: Error): void => void warnings.push(warning)
  process.on('warning', note)
  onTestFinished(() => void process.off('warning', note))
  const { pool } = await poolUnderTest({ poolSize: 24 })
  await Promise.all(Array.from({ length: 24 }, () => pool.query('select pg_sleep(0.05)', [], 5_000, 'a test')))
  // A warning is told in the next turn.
  await new Promise((resolve) => setImmediate(resolve))
  expect(warnings).toEqual([])
})
