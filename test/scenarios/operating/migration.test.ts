import { expect } from 'vitest'
import { quoteIdentifier } from '../../../src/database/sql-files.js'
import { newestMigration } from '../../../src/database/statements.js'
import { type BugleErrorCode, reject } from '../../../src/index.js'
import { test as base, signal, type TestDatabase } from '../../support/database.js'
import { refusal } from '../../support/refusal.js'
import { expectCheckedInSchema } from '../../support/schema-dump.js'

/** Names of schemas beside the test's own; dropped after it. */
const test = base.extend<{ beside: (suffix?: string) => string }>({
  beside: async ({ db }, use) => {
    const schemas: string[] = []
    try {
      await use((suffix = ' beside') => {
        schemas.push(`${db.schema}${suffix}`)
        return `${db.schema}${suffix}`
      })
    } finally {
      for (const schema of schemas) await db.sql.unsafe(`drop schema if exists ${quoteIdentifier(schema)} cascade`)
    }
  },
})

const allSteps = ['0001_jobs', '0002_functions']

test('H3 the first migration makes the schema, and a second one finds the work done', async ({ db, beside }) => {
  const schema = beside()
  const bugle = db.bugle({ schema })
  expect(await bugle.migrate()).toEqual({ schema, from: 0, to: newestMigration, applied: allSteps })
  const done = { schema, from: newestMigration, to: newestMigration, applied: [] }
  expect(await bugle.migrate()).toEqual(done)
  expect(await db.bugle({ schema }).migrate()).toEqual(done)
  await expectCheckedInSchema(db, schema)
  expect(await steps(db, schema)).toEqual(allSteps.map((name, index) => ({ number: index + 1, name })))
})

test('H3 a schema that is there and empty is taken', async ({ db, beside }) => {
  const schema = beside()
  await db.sql.unsafe(`create schema ${quoteIdentifier(schema)}`)
  expect(await db.bugle({ schema }).migrate()).toMatchObject({ from: 0, to: newestMigration })
  await expectCheckedInSchema(db, schema)
})

test('H3 a migration keeps the jobs that are there', async ({ db }) => {
  const bugle = db.bugle()
  const id = await bugle.put('emails', 'kept')
  await bugle.migrate()
  expect(await db.jobs()).toMatchObject([{ id, payload: 'kept' }])
})

test('H3 of 8 migrations at once each step is applied by exactly one', async ({ db, beside }) => {
  const schema = beside()
  const bugles = Array.from({ length: 8 }, () => db.bugle({ schema }))
  const reports = await Promise.all(bugles.map((bugle) => bugle.migrate()))
  expect(reports.flatMap(({ applied }) => applied).sort()).toEqual(allSteps)
  expect(reports.map(({ to }) => to)).toEqual(reports.map(() => newestMigration))
  expect(await steps(db, schema)).toHaveLength(allSteps.length)
  await expectCheckedInSchema(db, schema)
})

test('H3 one instance that migrates 8 times at once applies the steps once', async ({ db, beside }) => {
  const schema = beside()
  const bugle = db.bugle({ schema })
  const reports = await Promise.all(Array.from({ length: 8 }, () => bugle.migrate()))
  expect(reports.flatMap(({ applied }) => applied).sort()).toEqual(allSteps)
})

test('H3 migrations of different schemas do not wait for each other, nor for an application’s own lock', async ({
  db,
  beside,
}) => {
  const lock = db.connect()
  await lock`select pg_advisory_lock(hashtext('bugle.migrate'), hashtext(${db.schema}))`
  expect(await db.bugle({ schema: beside() }).migrate()).toMatchObject({ from: 0 })
})

test('H3 a newer schema is refused by migrate, put, putMany and consume, and nothing is written', async ({ db }) => {
  await db.sql.unsafe(`insert into ${db.s}.migration (number, name) values (${newestMigration + 1}, '9999_future')`)
  await refusedByAll(db, 'SCHEMA_TOO_NEW', /newer version/)
  expect(await count(db, 'job')).toBe(0)
  expect(await count(db, 'worker')).toBe(0)
  expect(await count(db, 'migration')).toBe(newestMigration + 1)
  await expectCheckedInSchema(db)
})

test('H3 an instance that was refused works as soon as the schema is right', async ({ db, beside }) => {
  const schema = beside()
  const bugle = db.bugle({ schema })
  expect(await refusal(() => bugle.put('emails', 1))).toMatchObject({ code: 'NOT_MIGRATED' })
  expect(await refusal(() => bugle.consume('emails', () => {}))).toMatchObject({ code: 'NOT_MIGRATED' })
  await bugle.migrate()
  const ran = signal<unknown>()
  await bugle.consume('emails', (job) => ran.resolve(job.payload))
  await bugle.put('emails', 2)
  expect(await ran.promise).toBe(2)
  // The schema beside goes first when the test ends, and a close would wait for an ack that cannot be written.
  await bugle.close()
})

test('H3 without a migration put, putMany and consume say what to run, and make nothing', async ({ db, beside }) => {
  const schema = beside()
  await refusedByAll(db, 'NOT_MIGRATED', /bugle\.migrate\(\)/, schema)
  expect(await db.sql`select from pg_namespace where nspname = ${schema}`).toHaveLength(0)
  // The same where the schema is there, and empty.
  await db.sql.unsafe(`create schema ${quoteIdentifier(schema)}`)
  await refusedByAll(db, 'NOT_MIGRATED', /bugle\.migrate\(\)/, schema)
  expect(await relations(db, schema)).toEqual([])
})

test('H3 an older schema is refused by put and consume until it is migrated', async ({ db }) => {
  await db.sql.unsafe(`delete from ${db.s}.migration`)
  await refusedByAll(db, 'NOT_MIGRATED', new RegExp(`needs ${newestMigration}`), db.schema, 'but migrate')
  expect(await count(db, 'job')).toBe(0)
})

test('H3 tables that are dropped while an instance runs are NOT_MIGRATED for the next put', async ({ db }) => {
  const bugle = db.bugle()
  await bugle.put('emails', 1)
  await db.sql.unsafe(`drop schema ${db.s} cascade`)
  expect(await refusal(() => bugle.put('emails', 2))).toMatchObject({ code: 'NOT_MIGRATED' })
  await db.sql.unsafe(`create schema ${db.s}`)
})

const strangeNames = {
  'double quotes': ' "quoted" ""',
  'single quotes': " 'quoted' ''",
  'a backslash': ' \\ \\n \\\\',
  'a dollar and a semicolon': '; $1 $$ --',
  'unicode and emoji': ' žluť 数 🐘',
  'psql’s own tokens': ` :"schema" :'schema'`,
  'what JavaScript’s replace reads': " $& $' $`",
  'capitals and dots': '.Job.X',
  'a line end': '\nselect 1; --\r\n',
  'the ends of comments': ' */ /* --',
}

for (const [what, suffix] of Object.entries(strangeNames)) {
  test(`H3 a schema name with ${what} works from end to end`, async ({ db, beside }) => {
    const schema = beside(suffix)
    const s = quoteIdentifier(schema)
    const bugle = db.bugle({ schema })
    expect(await bugle.migrate()).toMatchObject({ schema, from: 0, to: newestMigration })
    expect(await bugle.migrate()).toMatchObject({ schema, from: newestMigration, applied: [] })
    const seen: unknown[] = []
    let ran = signal()
    const consumer = await bugle.consume('emails', (job) => {
      seen.push(job.payload)
      ran.resolve()
      if (job.payload === 'bad') return reject('no')
    })
    // One after the other: each finds the consumer waiting, and must wake it.
    for (const put of [
      () => bugle.put('emails', 'by put'),
      () => bugle.putMany('emails', ['by putMany']),
      () => db.sql.unsafe(`select ${s}.put('emails', '"by the function"')`),
      () => db.sql.unsafe(`insert into ${s}.job (queue, payload) values ('emails', '"by insert"')`),
      () => bugle.put('emails', 'bad'),
    ]) {
      ran = signal()
      await put()
      await ran.promise
    }
    await consumer.idle()
    await consumer.stop()
    expect(seen).toEqual(['by put', 'by putMany', 'by the function', 'by insert', 'bad'])
    expect(await db.sql.unsafe(`select payload, state from ${s}.job`)).toEqual([{ payload: 'bad', state: 'failed' }])
    expect(await db.sql.unsafe(`select from ${s}.worker`)).toHaveLength(0)
  })
}

test('H3 a failed step leaves nothing, and can be repeated', async ({ db, beside }) => {
  const schema = beside()
  const s = quoteIdentifier(schema)
  // In the way of what the step makes last.
  await db.sql.unsafe(`create schema ${s}`)
  await db.sql.unsafe(`create function ${s}.cancel(id bigint) returns text
    language sql as 'select null'`)
  const bugle = db.bugle({ schema })
  expect(await refusal(() => bugle.migrate())).toMatchObject({
    code: 'SCHEMA_UNUSABLE',
    message: expect.stringMatching(/beside.*"cancel" already exists.*not Bugle's.*schema of its own/),
    cause: expect.objectContaining({ code: '42723' }),
  })
  // The step before is done, and this one is not.
  expect(await steps(db, schema)).toEqual([{ number: 1, name: '0001_jobs' }])
  expect(await refusal(() => bugle.put('emails', 1))).toMatchObject({ code: 'NOT_MIGRATED' })

  await db.sql.unsafe(`drop function ${s}.cancel`)
  expect(await bugle.migrate()).toMatchObject({ from: 1, to: newestMigration })
  await expectCheckedInSchema(db, schema)
})

test('H3 a migration without the right to make what it needs leaves nothing, and says what is missing', async ({
  db,
  beside,
}) => {
  const schema = beside()
  const [s, role] = [quoteIdentifier(schema), quoteIdentifier(`${db.schema} role`)]
  await db.sql.unsafe(`create role ${role} login`)
  try {
    const url = new URL(db.connectionString)
    url.username = encodeURIComponent(`${db.schema} role`)
    const bugle = db.bugle({ schema, connectionString: url.href })
    const refused = async () => {
      const error = await refusal(() => bugle.migrate())
      expect(error).toMatchObject({ code: 'NO_PRIVILEGE', cause: { code: '42501' } })
      return error.message
    }
    const [, grantCreate = ''] =
      /permission denied for database.*: (grant create on database .*;)$/.exec(await refused()) ?? []
    expect(await db.sql`select from pg_namespace where nspname = ${schema}`).toHaveLength(0)

    await db.sql.unsafe(`create schema ${s}`)
    const [, grantUsage = ''] =
      /permission denied for schema.*: (grant usage, create on schema .*;)$/.exec(await refused()) ?? []
    expect(await relations(db, schema)).toEqual([])

    // What it says is enough, either way.
    await db.sql.unsafe(`drop schema ${s}; ${grantCreate}`)
    expect(await bugle.migrate()).toMatchObject({ applied: allSteps })
    await db.sql.unsafe(`drop schema ${s} cascade; create schema ${s}; ${grantUsage}`)
    expect(await bugle.migrate()).toMatchObject({ applied: allSteps })

    // Tables that are somebody else's: it may read how far they are, and go no further.
    await db.sql.unsafe(`drop schema ${s} cascade`)
    await db.bugle({ schema }).migrate()
    await db.sql.unsafe(`grant usage on schema ${s} to ${role}`)
    expect(await refused()).toMatch(/^migrate: permission denied for table migration: .*`bugle grants`/)
    await db.sql.unsafe(`grant select on ${s}.migration to ${role}`)
    expect(await bugle.migrate()).toMatchObject({ from: newestMigration, applied: [] })
    await db.sql.unsafe(`delete from ${s}.migration where number = ${newestMigration}`)
    expect(await refused()).toMatch(
      /permission denied for schema .*: only the role that owns its tables may migrate it/,
    )
    await bugle.close()
  } finally {
    await db.sql.unsafe(`drop schema if exists ${s} cascade; drop owned by ${role} cascade; drop role ${role}`)
  }
})

async function refusedByAll(
  db: TestDatabase,
  code: BugleErrorCode,
  message: RegExp,
  schema = db.schema,
  migrate?: 'but migrate',
): Promise<void> {
  const bugle = db.bugle({ schema })
  const refused = { code, message: expect.stringMatching(message) }
  expect(await refusal(() => bugle.put('emails', 1))).toMatchObject(refused)
  expect(await refusal(() => bugle.putMany('emails', [1, 2]))).toMatchObject(refused)
  expect(await refusal(() => bugle.consume('emails', () => expect.unreachable()))).toMatchObject(refused)
  if (code === 'SCHEMA_TOO_NEW' && migrate === undefined) {
    expect(await refusal(() => bugle.migrate())).toMatchObject(refused)
  }
}

async function steps(db: TestDatabase, schema: string): Promise<object[]> {
  return [...(await db.sql.unsafe(`select number, name from ${quoteIdentifier(schema)}.migration order by number`))]
}

async function count(db: TestDatabase, table: string): Promise<number> {
  return (await db.sql.unsafe(`select from ${db.s}.${table}`)).length
}

async function relations(db: TestDatabase, schema: string): Promise<string[]> {
  const rows = await db.sql<{ relname: string }[]>`
    select relname from pg_class join pg_namespace on pg_namespace.oid = relnamespace where nspname = ${schema}`
  return rows.map(({ relname }) => relname)
}
