import { setImmediate as nextRound } from 'node:timers/promises'
import postgres from 'postgres'
import { expect, inject, onTestFinished, test } from 'vitest'
import { openAll, pidOf, poolUnderTest, resetNow } from '../../support/pool.js'
import { until } from '../../support/until.js'

/** A table of its own, and a superuser's session beside the pool. */
async function tableUnderTest() {
  const sql = postgres(inject('connectionString'), { max: 1, onnotice: () => {} })
  const table = `losses_${process.pid}_${Math.random().toString(36).slice(2)}`
  await sql`create unlogged table ${sql(table)} (n int, filler text)`
  onTestFinished(async () => {
    await sql`drop table ${sql(table)}`
    await sql.end()
  })
  const written = async (): Promise<Map<number, number>> => {
    const rows = await sql<{ n: number; times: number }[]>`
      select n, count(*)::int as times from ${sql(table)} group by n`
    return new Map(rows.map(({ n, times }) => [n, times]))
  }
  return { sql, table, written }
}

// The driver writes what is shorter than 1,024 bytes in the next round of the event loop, and the rest at once.
const fillers = { short: 'x', long: 'x'.repeat(2_000) } as const

const moments = {
  'in the same turn': async () => {},
  'after the turn': () => new Promise<void>((resolve) => process.nextTick(resolve)),
  'in the next round': () => nextRound(),
} as const

for (const [length, sslmode] of [
  ['short', 'disable'],
  ['long', 'disable'],
  ['short', 'require'],
  ['long', 'require'],
] as const) {
  const way = sslmode === 'require' ? 'over TLS' : 'in plain text'
  test(`a ${length} statement ${way} is reported as it is, whenever it follows a reset`, async () => {
    const { pool, proxy } = await poolUnderTest({ poolSize: 2, sslmode })
    const filler = fillers[length]
    const { table, written } = await tableUnderTest()
    const insert = `insert into ${table} (n, filler) select $1::text::int, $2 where true`
    const ended: Promise<unknown>[] = []
    let n = 0
    for (let turn = 0; turn < 4; turn += 1) {
      for (const wait of Object.values(moments)) {
        await openAll(pool, 2)
        await nextRound()
        resetNow(proxy.port)
        await wait()
        // As many as there are connections, and one that makes each of them log in again.
        const asked = [1, 2, 3].map(() => {
          n += 1
          const own = n
          return pool.query(`${insert} returning n`, [String(own), filler], 5_000, 'insert').then(
            (rows) => ({ own, rows }),
            (error) => ({ own, code: error.code }),
          )
        })
        ended.push(...asked)
        await Promise.all(asked)
      }
    }
    const rows = await written()
    for (const answer of await Promise.all(ended)) {
      const { own } = answer as { own: number }
      expect(answer).toEqual({ own, rows: [{ n: own }] })
      expect(rows.get(own)).toBe(1)
    }
  })
}

test.each(['disable', 'require'])(
  'sslmode=%s: a statement is reported as it is while real resets come',
  async (sslmode) => {
    const { pool, proxy } = await poolUnderTest({ poolSize: 4, sslmode })
    const { table, written } = await tableUnderTest()
    const insert = `insert into ${table} (n, filler) values ($1::text::int, $2)`
    const reports = new Map<number, string>()
    let n = 0
    const write = async (): Promise<void> => {
      for (let turn = 0; turn < 25; turn += 1) {
        n += 1
        const own = n
        const filler = own % 2 === 0 ? fillers.short : fillers.long
        await pool.query(insert, [String(own), filler], 5_000, 'insert').then(
          () => reports.set(own, 'written'),
          (error) => reports.set(own, error.code),
        )
        if (own % 7 === 0) proxy.reset()
      }
    }
    await Promise.all([write(), write(), write(), write(), write(), write(), write(), write()])
    const rows = await written()
    expect(reports.size).toBe(200)
    for (const [own, report] of reports) {
      const times = rows.get(own) ?? 0
      if (report === 'written') expect([own, times]).toEqual([own, 1])
      else if (report === 'NOT_SENT') expect([own, times]).toEqual([own, 0])
      else expect([own, report, times < 2]).toEqual([own, 'CONNECTION_CLOSED', true])
    }
    // Nearly all: a reset is no outage.
    expect([...reports.values()].filter((report) => report === 'written').length).toBeGreaterThan(50)
  },
)

test('a backend killed in the first use of a statement silences nobody: the next statement is answered', async () => {
  const { pool } = await poolUnderTest({ poolSize: 1 })
  const { sql, table, written } = await tableUnderTest()
  for (let turn = 0; turn < 4; turn += 1) {
    const pid = await pidOf(pool)
    // Parsing waits for the lock, so the backend dies before it has described the statement.
    const locked = postgres(inject('connectionString'), { max: 1 })
    await locked.unsafe(`begin; lock table ${table}`)
    const insert = `insert into ${table} (n) values ($1::text::int + ${turn})`
    const killed = pool.query(insert, ['100'], 9_000, 'killed').catch((error) => error.code)
    const behind = pool.query(insert, ['200'], 9_000, 'behind')
    await until(async () => (await sql`select from pg_locks where pid = ${pid} and not granted`).length > 0)
    await sql`select pg_terminate_backend(${pid})`
    expect(await killed).toBe('CONNECTION_CLOSED')
    await locked.end({ timeout: 0 })
    await behind
    expect(await pidOf(pool)).not.toBe(pid)
  }
  const rows = await written()
  expect([...rows.keys()].sort()).toEqual(Array.from({ length: 4 }, (_, turn) => 200 + turn))
})

test('a backend killed while its connection is idle fails no statement', async () => {
  const { pool, proxy } = await poolUnderTest({ poolSize: 1 })
  const { sql } = await tableUnderTest()
  for (let turn = 0; turn < 5; turn += 1) {
    const pid = await pidOf(pool)
    await sql`select pg_terminate_backend(${pid})`
    await until(() => proxy.open === 0)
    expect(await pidOf(pool)).not.toBe(pid)
  }
})
