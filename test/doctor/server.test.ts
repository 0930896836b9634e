import { expect } from 'vitest'
import { type Clinic, test } from '../support/clinic.js'
import { until } from '../support/until.js'

const statuses = async (clinic: Clinic): Promise<string[]> =>
  (await clinic.findings('autovacuum')).map(({ status }) => status)

/** A remedy of lines; statements that cannot share a transaction go one by one. */
async function apply(clinic: Clinic, remedy: string | null | undefined): Promise<void> {
  for (const statement of (remedy ?? '').split(/;\s*/)) if (statement !== '') await clinic.sql.unsafe(statement)
}

test('autovacuum off on the server, and track_counts off: each remedy mends it', async ({ clinic }) => {
  await clinic.sql.unsafe('alter system set autovacuum = off')
  await clinic.sql.unsafe('alter system set track_counts = off')
  await clinic.sql.unsafe('select pg_reload_conf()')
  // A session reads its settings anew before its next statement; the doctor's are fresh, the server's word takes a
  // moment.
  await until(async () => (await statuses(clinic)).includes('trouble'))
  await until(async () => (await statuses(clinic)).length >= 2)
  const found = await clinic.findings('autovacuum')
  expect(found.map(({ message }) => message.split(' ')[0])).toEqual(['autovacuum', 'track_counts'])
  for (const { remedy } of found) await apply(clinic, remedy)
  await until(async () => !(await statuses(clinic)).includes('trouble'))
})

test('autovacuum off on the table, our parameters gone or others: told, and mended by the remedy', async ({
  clinic,
}) => {
  const { s, sql } = clinic
  await sql.unsafe(`alter table ${s}.job set (autovacuum_enabled = off, autovacuum_vacuum_threshold = 5000)`)
  await sql.unsafe(`alter table ${s}.job reset (vacuum_truncate, toast.vacuum_truncate)`)
  const found = await clinic.findings('autovacuum')
  expect(found.map(({ status, details: { table, parameter } }) => [status, table, parameter])).toEqual([
    ['trouble', 'job', undefined],
    ['note', 'job', 'autovacuum_vacuum_threshold'],
    ['trouble', 'job', 'toast.vacuum_truncate'],
    ['trouble', 'job', 'vacuum_truncate'],
  ])
  for (const { remedy } of found) await apply(clinic, remedy)
  expect(await statuses(clinic)).toEqual(['ok'])
  // These are no drift.
  expect(await clinic.findings('drift')).toMatchObject([{ status: 'ok' }])
})

test('many dead rows that no vacuum has removed', async ({ clinic }) => {
  const { s, sql } = clinic
  await sql.unsafe(`alter table ${s}.job set (autovacuum_enabled = off)`)
  await sql.unsafe(`insert into ${s}.job (queue) select 'q' from generate_series(1, 30000)`)
  await sql.unsafe(`delete from ${s}.job`)
  // The statistics come when the session that has them is idle; of a young table nothing is said yet.
  const dead = async () => {
    const [row] = await sql<{ dead: number }[]>`
      select n_dead_tup::int as dead from pg_stat_all_tables where schemaname = ${clinic.schema} and relname = 'job'`
    return row?.dead ?? 0
  }
  await until(async () => (await dead()) >= 30_000)
  expect(await clinic.findings('bloat')).toMatchObject([{ status: 'ok' }])
  const thresholds = { untendedMs: 0 }
  const [found] = await clinic.findings('bloat', { thresholds })
  expect(found).toMatchObject({ status: 'note', details: { table: 'job', live: 0 } })
  await apply(clinic, found?.remedy)
  await until(async () => (await dead()) === 0)
  expect((await clinic.findings('bloat', { thresholds })).filter(({ details }) => details.dead !== undefined)).toEqual(
    [],
  )
})

test('indexes and tables that are mostly empty', async ({ clinic }) => {
  const { s, sql } = clinic
  await sql.unsafe(`insert into ${s}.job (queue) select 'q' from generate_series(1, 20000)`)
  const written = (what: string) =>
    sql.unsafe(
      `
      select from pg_stat_all_tables where schemaname = $1 and relname = 'job' and ${what} > 0`,
      [clinic.schema],
    )
  const entriesOf = async (index: string): Promise<number> => {
    const [row] = await sql.unsafe<{ entries: number }[]>(
      `select reltuples::int as entries from pg_class where oid = '${s}.${index}'::regclass`,
    )
    return row?.entries ?? 0
  }
  await until(async () => (await written('n_tup_ins')).length > 0)
  // Not analysed since: nothing is said of what is not known.
  expect(await clinic.findings('bloat', { thresholds: { indexBytes: 100_000 } })).toMatchObject([{ status: 'ok' }])
  await sql.unsafe(`delete from ${s}.job where id > 10`)
  await until(async () => (await written('n_tup_del')).length > 0)
  // Again where it could not remove the rows: autovacuum may be looking at them.
  await until(async () => {
    await sql.unsafe(`vacuum analyze ${s}.job`)
    return (await entriesOf('job_pkey')) <= 10
  })
  // Before PostgreSQL 15 statistics come by a process of their own, some time after.
  await until(async () => (await written('analyze_count')).length > 0)
  expect(await clinic.findings('bloat')).toMatchObject([{ status: 'ok' }])
  const found = await clinic.findings('bloat', { thresholds: { indexBytes: 100_000 } })
  expect(found.map(({ status, details }) => [status, details.table ?? details.index])).toEqual([
    ['note', 'job'],
    ['note', 'job_pkey'],
    ['note', 'job_ready'],
  ])
  const thresholds = { indexBytes: 20_000 }
  const smaller = await clinic.findings('bloat', { thresholds })
  expect(smaller.find(({ details }) => details.index === 'job_pkey')).toMatchObject({ status: 'trouble' })
  await apply(clinic, found[1]?.remedy)
  expect((await clinic.findings('bloat', { thresholds })).map(({ details }) => details.table ?? details.index)).toEqual(
    ['job', 'job_ready'],
  )
})

test('a listener that does not read fills the notification queue', async ({ clinic }) => {
  expect(await clinic.findings('notification-queue')).toMatchObject([{ status: 'ok' }])
  const deaf = clinic.connect()
  await deaf.unsafe('listen somewhere')
  await deaf.unsafe('begin')
  await clinic.sql.unsafe(`select pg_notify('somewhere', repeat('x', 7000) || n) from generate_series(1, 300) as n`)
  const [found] = await clinic.findings('notification-queue', { thresholds: { notificationQueue: 1e-6 } })
  expect(found).toMatchObject({ status: 'trouble' })
  // Whoever it is, is the first that the remedy shows.
  const [suspect] = await clinic.sql.unsafe<{ pid: number }[]>(found?.remedy ?? '')
  const [{ pid } = { pid: 0 }] = await deaf<{ pid: number }[]>`select pg_backend_pid() as pid`
  expect(suspect?.pid).toBe(pid)
})

test('a clock that is off is a note, either way', async ({ clinic }) => {
  for (const offsetMs of [5_000, -5_000]) {
    const [found] = await clinic.findings('clock', { now: () => Date.now() + offsetMs })
    expect(found).toMatchObject({ status: 'note' })
    expect(found?.message).toContain(offsetMs > 0 ? 'ahead of' : 'behind')
    expect(Math.sign(Number(found?.details.offsetMs))).toBe(Math.sign(offsetMs))
  }
})

test('few connections left is a note', async ({ clinic }) => {
  const [{ usable } = { usable: 0 }] = (await clinic.findings('connections')).map(({ details }) => ({
    usable: Number(details.usable),
  }))
  const many = Array.from({ length: Math.ceil(usable * 0.86) }, () => clinic.connect())
  await Promise.all(many.map((sql) => sql`select 1`))
  expect(await clinic.findings('connections')).toMatchObject([{ status: 'note', details: { usable } }])
})
