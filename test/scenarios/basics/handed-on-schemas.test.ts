import { expect } from 'vitest'
import { test } from '../../support/database.js'
import { createSchemas } from '../../support/schemas.js'

// The tests' own schemas: one test must not see what another one has done. On the newest server only: before PostgreSQL
// 14 an ANALYZE of an empty table leaves no trace, and changes no plan.

const changes = {
  'a trigger disabled': 'alter table job disable trigger user',
  'a function replaced':
    "create or replace function wake() returns trigger language plpgsql as 'begin return null; end'",
  'a table analysed while it is empty': 'analyze worker',
  'a privilege granted': 'grant select on job to public',
  'a column added': 'alter table job add column note text',
  'an index dropped': 'drop index job_kind',
  'a migration recorded': "insert into migration (number, name) values (9999, '9999_future')",
  'a table renamed': 'alter table migration rename to away',
}

for (const [what, statement] of Object.entries(changes)) {
  test(`a schema is not handed on with ${what}`, async ({ sql }) => {
    const schemas = createSchemas(sql)
    const changed = await schemas.take()
    await sql.unsafe(`set search_path = "${changed}"; ${statement}; reset search_path`)
    schemas.giveBack(changed)
    const next = await schemas.take()
    expect(next).not.toBe(changed)
    expect(await sql`select from pg_namespace where nspname = ${changed}`).toHaveLength(0)
    schemas.giveBack(next)
    await schemas.end()
  })
}

test('a schema in which only rows have changed is handed on empty, and its ids begin again', async ({ sql }) => {
  const schemas = createSchemas(sql)
  const schema = await schemas.take()
  await sql.unsafe(`
    insert into "${schema}".job (queue, payload) select 'q', 'null' from generate_series(1, 3);
    insert into "${schema}".queue (name, paused_at) values ('q', now())`)
  schemas.giveBack(schema)
  expect(await schemas.take()).toBe(schema)
  const rows = await sql.unsafe(`insert into "${schema}".job (queue, payload) values ('q', 'null') returning id`)
  expect(rows).toMatchObject([{ id: '1' }])
  expect(await sql.unsafe(`select from "${schema}".queue`)).toHaveLength(0)
  schemas.giveBack(schema)
  await schemas.end()
})

test('a schema that somebody has locked is left to them', async ({ sql, db }) => {
  const schemas = createSchemas(sql)
  const schema = await schemas.take()
  const other = db.connect()
  await other`begin`
  await other.unsafe(`select from "${schema}".job`)
  // Its last statement no longer names the schema, but it still has the lock.
  await other`select 1`
  schemas.giveBack(schema)
  const next = await schemas.take()
  expect(next).not.toBe(schema)
  await other`rollback`
  await sql.unsafe(`drop schema "${schema}" cascade`)
  schemas.giveBack(next)
  await schemas.end()
})
