import { expect } from 'vitest'
import { resolveConnection } from '../../../src/database/connection.js'
import { planMigration } from '../../../src/database/migrate.js'
import { test as base, type TestDatabase } from '../../support/database.js'
import { refusal } from '../../support/refusal.js'

/** A schema of somebody else's, empty as yet; dropped after the test. */
const test = base.extend<{ theirs: string }>({
  theirs: async ({ db }, use) => {
    const schema = `${db.schema} theirs`
    await db.sql.unsafe(`create schema "${schema}"`)
    await use(schema)
    await db.sql.unsafe(`drop schema "${schema}" cascade`)
  },
})

async function names(db: TestDatabase, schema: string): Promise<string[]> {
  const rows = await db.sql<{ relname: string }[]>`
    select relname from pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where nspname = ${schema} order by relname`
  return rows.map(({ relname }) => relname)
}

const foreign = {
  'a table with numbers, of another tool': '(number int primary key, name text)',
  'a table with our columns in other types': '(number text, name text, applied_at timestamptz)',
}

for (const [what, columns] of Object.entries(foreign)) {
  test(`H3 ${what} that is called migration is not believed, whatever is in it`, async ({ db, theirs }) => {
    await db.sql.unsafe(`create table "${theirs}".migration ${columns}`)
    await db.sql.unsafe(`insert into "${theirs}".migration (number, name) values ('1', 'users'), ('2', 'orders')`)
    const before = await names(db, theirs)
    const bugle = db.bugle({ schema: theirs })
    const unusable = {
      code: 'SCHEMA_UNUSABLE',
      message: expect.stringMatching(/theirs" has a table "migration" that is not Bugle's: .*schema of its own/),
    }
    expect(await refusal(() => bugle.put('q', 1))).toMatchObject(unusable)
    expect(await refusal(() => bugle.consume('q', () => {}))).toMatchObject(unusable)
    expect(await refusal(() => bugle.migrate())).toMatchObject(unusable)
    const connection = resolveConnection({ connectionString: db.connectionString }, {})
    expect(await refusal(() => planMigration(connection, theirs, 'test'))).toMatchObject(unusable)
    expect(await names(db, theirs)).toEqual(before)
    expect(await db.sql.unsafe(`select from "${theirs}".migration`)).toHaveLength(2)
  })
}

test('H3 a view that is called migration is not believed', async ({ db, theirs }) => {
  await db.sql.unsafe(`create view "${theirs}".migration as select 2 as number, ''::text as name, now() as applied_at`)
  expect(await refusal(() => db.bugle({ schema: theirs }).put('q', 1))).toMatchObject({ code: 'SCHEMA_UNUSABLE' })
})

test('H3 a table of somebody else’s in the place of ours is named with its schema, and nothing is made', async ({
  db,
  theirs,
}) => {
  await db.sql.unsafe(`create table "${theirs}".job (id int)`)
  const bugle = db.bugle({ schema: theirs })
  expect(await refusal(() => bugle.put('q', 1))).toMatchObject({ code: 'NOT_MIGRATED' })
  expect(await refusal(() => bugle.migrate())).toMatchObject({
    code: 'SCHEMA_UNUSABLE',
    message: expect.stringMatching(/theirs" cannot be migrated: relation "job" already exists, and .*not Bugle's/),
    cause: expect.objectContaining({ code: '42P07' }),
  })
  expect(await names(db, theirs)).toEqual(['job'])
  await db.sql.unsafe(`alter table "${theirs}".job rename to their_job`)
  expect(await bugle.migrate()).toMatchObject({ from: 0 })
  expect(await bugle.put('q', 1)).toBe('1')
})
