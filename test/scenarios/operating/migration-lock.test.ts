import postgres from 'postgres'
import { expect, onTestFinished } from 'vitest'
import { resolveConnection } from '../../../src/database/connection.js'
import { migrate, planMigration } from '../../../src/database/migrate.js'
import { quoteIdentifier } from '../../../src/database/sql-files.js'
import { loadMigrations, newestMigration } from '../../../src/database/statements.js'
import { test as base, type TestDatabase } from '../../support/database.js'
import { at } from '../../support/held-proxy.js'
import { findPgbouncer, startPgbouncer } from '../../support/pgbouncer.js'
import { startProxy } from '../../support/proxy.js'
import { refusal } from '../../support/refusal.js'
import { expectCheckedInSchema } from '../../support/schema-dump.js'
import { until } from '../../support/until.js'

/** A schema that is not there yet; dropped after the test. */
const test = base.extend<{ fresh: string }>({
  fresh: async ({ db }, use) => {
    const schema = `${db.schema} fresh`
    await use(schema)
    // A test that failed may have left a transaction open, which only ends with the test.
    await db.sql.unsafe(`set local lock_timeout = '2s'; drop schema if exists ${quoteIdentifier(schema)} cascade`)
  },
})

const program = await findPgbouncer()
const behindPooler = test.skipIf(program === null)

const all = { from: 0, to: newestMigration, applied: loadMigrations('').map(({ name }) => name) }

/** Sessions that hold the schema's lock of migrations, or wait for it. */
const locks = (db: TestDatabase, schema: string) => db.sql<{ pid: number; granted: boolean }[]>`
  select pid, granted
  from pg_locks
  where locktype = 'advisory'
    and classid = (hashtext('bugle.migrate')::bigint & 4294967295)::oid
    and objid = (hashtext(${schema})::bigint & 4294967295)::oid`

const untilWaiting = (db: TestDatabase, schema: string, waiting = 1) =>
  until(async () => (await locks(db, schema)).filter(({ granted }) => !granted).length === waiting)

const lockText = (schema: string) =>
  `select pg_advisory_xact_lock(hashtext('bugle.migrate'), hashtext('${schema.replaceAll("'", "''")}'))`

behindPooler(
  'H3 through pgbouncer in transaction mode, two at once: each step runs once, no lock is left',
  async ({ db, fresh }) => {
    const pooler = await startPgbouncer(program ?? '', db.connectionString)
    try {
      const bugles = [1, 2].map(() => db.bugle({ schema: fresh, connectionString: pooler.connectionString }))
      const reports = await Promise.all(bugles.map((bugle) => bugle.migrate()))
      expect(reports.flatMap(({ applied }) => applied).sort()).toEqual(all.applied)
      expect(await locks(db, fresh)).toEqual([])
      // Nor is anything of the transactions' settings.
      const through = postgres(pooler.connectionString, { max: 1, prepare: false, fetch_types: false })
      expect(await through`show lock_timeout`).toEqual([{ lock_timeout: '0' }])
      await through.end()
      // By another way: it would wait for what was left there.
      await db.sql.unsafe(`delete from ${quoteIdentifier(fresh)}.migration where number = 2`)
      await db.sql.unsafe(`drop function ${quoteIdentifier(fresh)}.requeue_many, ${quoteIdentifier(fresh)}.requeue,
      ${quoteIdentifier(fresh)}.cancel, ${quoteIdentifier(fresh)}.cancel_many,
      ${quoteIdentifier(fresh)}.edit,
      ${quoteIdentifier(fresh)}.discard_many, ${quoteIdentifier(fresh)}.discard, ${quoteIdentifier(fresh)}.pause,
      ${quoteIdentifier(fresh)}.resume`)
      expect(await db.bugle({ schema: fresh }).migrate()).toMatchObject({ from: 1, applied: [all.applied[1]] })
      await expectCheckedInSchema(db, fresh)
    } finally {
      await pooler.stop()
    }
  },
)

behindPooler('H3 a script of --dry-run through pgbouncer in transaction mode leaves no lock', async ({ db, fresh }) => {
  const pooler = await startPgbouncer(program ?? '', db.connectionString)
  try {
    const connection = resolveConnection({ connectionString: pooler.connectionString }, {})
    const { script } = await planMigration(connection, fresh, 'test')
    const { script: onceMore } = await planMigration(connection, fresh, 'test')
    const psql = postgres(pooler.connectionString, { max: 1, prepare: false, fetch_types: false, onnotice: () => {} })
    await psql.unsafe(script).simple()
    await psql.end()
    expect(await locks(db, fresh)).toEqual([])
    await expectCheckedInSchema(db, fresh)
    // Two were printed, and both are run.
    await expect(db.connect().unsafe(onceMore).simple()).rejects.toMatchObject({ code: '42P06' })
  } finally {
    await pooler.stop()
  }
})

test('H3 a migrator that is killed in the middle leaves nothing, and the one that waits for it does it all', async ({
  db,
  fresh,
}) => {
  // Somebody is about to make a table of that name: the first step waits for what becomes of it.
  const s = quoteIdentifier(fresh)
  await db.sql.unsafe(`create schema ${s}`)
  const other = db.connect()
  await other.unsafe(`begin; create table ${s}.job (id int)`).simple()
  const killed = refusal(() => db.bugle({ schema: fresh }).migrate())
  const pid = await until(async () => {
    const [holder] = await locks(db, fresh)
    return holder?.granted === true && holder.pid
  })
  const waiter = db.bugle({ schema: fresh }).migrate()
  await untilWaiting(db, fresh)
  await db.kill([pid])
  expect(await killed).toMatchObject({ code: 'RESULT_UNKNOWN', cause: expect.objectContaining({ code: '57P01' }) })
  await until(async () => (await locks(db, fresh)).some(({ granted, pid: holder }) => granted && holder !== pid))
  await other.unsafe('rollback')
  expect(await waiter).toEqual({ schema: fresh, ...all })
  expect(await locks(db, fresh)).toEqual([])
  await expectCheckedInSchema(db, fresh)
})

test('H3 a migrator whose connection is closed without a word says whether something may have been written', async ({
  db,
  fresh,
}) => {
  const { hostname, port } = new URL(db.connectionString)
  const proxy = await startProxy({ host: hostname, port: Number(port) })
  onTestFinished(() => proxy.close())
  const connectionString = at(db, proxy.port)
  const holder = db.connect()
  // In the middle of a step.
  await holder.unsafe(`begin; ${lockText(fresh)}`).simple()
  const inStep = refusal(() => db.bugle({ schema: fresh, connectionString }).migrate())
  await untilWaiting(db, fresh)
  await proxy.refuse()
  expect(await inStep).toMatchObject({ code: 'RESULT_UNKNOWN', message: expect.stringMatching(/^migrate: /) })
  await holder.unsafe('rollback')
  // Before any step, while it looks.
  await proxy.heal()
  await holder.unsafe(`begin; lock table ${db.s}.migration in access exclusive mode`).simple()
  const inLook = refusal(() => db.bugle({ connectionString }).migrate())
  const waiters = () => db.sql`
    select from pg_locks where relation = ${`${db.s}.migration`}::regclass and not granted`
  await until(async () => (await waiters()).length > 0)
  await proxy.refuse()
  expect(await inLook).toMatchObject({ code: 'DATABASE_DOWN', message: expect.stringMatching(/^migrate: /) })
  await holder.unsafe('rollback')
  await until(async () => (await waiters()).length === 0)
})

test('H3 a lock that somebody keeps is waited for so long, and then named; nothing is left', async ({ db, fresh }) => {
  const holder = db.connect()
  await holder.unsafe("set application_name = 'the other one'")
  const [{ pid } = { pid: 0 }] = await holder<{ pid: number }[]>`select pg_backend_pid() as pid`
  await holder.unsafe(`begin; ${lockText(fresh)}`).simple()
  const connection = resolveConnection({ connectionString: db.connectionString }, {})
  expect(await refusal(() => migrate(connection, fresh, 'test', 30))).toMatchObject({
    code: 'MIGRATION_BLOCKED',
    message: expect.stringMatching(new RegExp(`pid ${pid} \\("the other one"\\), which migrates`)),
    cause: expect.objectContaining({ code: '55P03' }),
  })
  expect(await db.sql`select from pg_namespace where nspname = ${fresh}`).toHaveLength(0)
  expect(await locks(db, fresh)).toEqual([{ pid, granted: true }])
  await holder.unsafe('rollback')
  expect(await migrate(connection, fresh, 'test', 30)).toEqual({ schema: fresh, ...all })
})

test('H3 where nothing is due nobody is waited for', async ({ db }) => {
  await db
    .connect()
    .unsafe(`begin; ${lockText(db.schema)}`)
    .simple()
  expect(await db.bugle().migrate()).toMatchObject({ from: newestMigration, applied: [] })
})

test('H3 what another migrator has done meanwhile is seen, whatever isolation the role defaults to', async ({
  db,
  fresh,
}) => {
  const role = `role_${db.schema.slice(5)}`
  await db.sql.unsafe(`create role ${role} superuser login`)
  try {
    await db.sql.unsafe(`alter role ${role} set default_transaction_isolation = 'repeatable read'`)
    const url = new URL(db.connectionString)
    url.username = role
    const s = quoteIdentifier(fresh)
    const first = db.connect()
    const [step] = loadMigrations(fresh)
    await first.unsafe(`begin; ${lockText(fresh)}`).simple()
    const bugle = db.bugle({ schema: fresh, connectionString: url.href })
    const waiter = bugle.migrate()
    await untilWaiting(db, fresh)
    await first
      .unsafe(
        `create schema ${s}; ${step?.text};
         insert into ${s}.migration (number, name) values (1, '${step?.name}'); commit`,
      )
      .simple()
    expect(await waiter).toMatchObject({ from: 0, applied: all.applied.slice(1) })
    await expectCheckedInSchema(db, fresh)
    await bugle.close()
  } finally {
    await db.sql.unsafe(`drop owned by ${role} cascade`)
    await db.sql.unsafe(`drop role ${role}`)
  }
})
