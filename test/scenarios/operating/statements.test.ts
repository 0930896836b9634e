import type postgres from 'postgres'
import { expect } from 'vitest'
import { fillIn, readSql, sqlNames } from '../../../src/database/sql-files.js'
import { loadStatements, type StatementName } from '../../../src/database/statements.js'
import { type TestDatabase, test } from '../../support/database.js'

// Every file of sql/ can be pasted into psql, with its comments. Here psql's variables are filled in as psql does it.
// The files in sql/statements/parts are no whole statements. They are pasted as the library sends them.

test('each file of sql/statements is a whole statement', async ({ db }) => {
  const session = await openSession(db)
  for (const name of sqlNames('statements')) {
    const text = fillIn(readSql(`statements/${name}`), { schema: schemaFor(db, name) })
    await rolledBack(session, () => paste(session, `statements/${name}`, text))
  }
})

test('each statement that the library sends is a whole one, also where two files make it', async ({ db }) => {
  const session = await openSession(db)
  const names = Object.keys(loadStatements(db.schema)) as StatementName[]
  for (const name of names) {
    await rolledBack(session, () => paste(session, name, loadStatements(schemaFor(db, name))[name]))
  }
})

test('each file of sql/statements is sent, and each part makes a statement of its own', ({ db }) => {
  const loaded = Object.entries(loadStatements(db.schema))
  const variants = sqlNames('statements/parts').map((name) => name.split('.').at(-1) ?? '')
  expect(loaded.map(([name]) => name).toSorted()).toEqual([...sqlNames('statements'), ...variants].toSorted())
  // Marks that are not found would leave the base as it is.
  const texts = loaded.map(([name, text]) => text.replace(`/* bugle ${name} */`, ''))
  expect(new Set(texts).size).toBe(texts.length)
})

test('each file of sql/doctor is a whole statement', async ({ db }) => {
  const session = await openSession(db)
  for (const name of sqlNames('doctor')) {
    const text = fillIn(readSql(`doctor/${name}`), { schema: db.schema })
    await rolledBack(session, () => paste(session, `doctor/${name}`, text))
  }
})

test('each file of sql/grants can be pasted as it is', async ({ db }) => {
  const session = await openSession(db)
  const role = `${db.schema} role`
  for (const name of sqlNames('grants')) {
    await rolledBack(session, async () => {
      await session.unsafe(fillIn('create role :"role"', { role }))
      await paste(session, `grants/${name}`, fillIn(readSql(`grants/${name}`), { schema: db.schema, role }))
    })
  }
})

test('the migrations can be pasted one after the other', async ({ db }) => {
  const session = await openSession(db)
  const schema = schemaFor(db, 'schema_create')
  await rolledBack(session, async () => {
    for (const file of ['statements/schema_create', ...sqlNames('migrations').map((name) => `migrations/${name}`)]) {
      await paste(session, file, fillIn(readSql(file), { schema }))
    }
  })
})

test('each file of sql/demo can be pasted, first those that make what the others use', async ({ db }) => {
  const session = await openSession(db)
  const roles = { producer: `${db.schema} p`, consumer: `${db.schema} c`, observer: `${db.schema} o` }
  const tokens = { schema: schemaFor(db, 'schema_create'), jobs: db.schema, password: "it's", ...roles }
  const makers = ['schema_create', 'plain_create', 'result_create', 'role_create']
  const droppers = ['schema_drop', 'roles_drop']
  const others = sqlNames('demo').filter((name) => !makers.includes(name) && !droppers.includes(name))
  await rolledBack(session, async () => {
    for (const name of [...makers, ...others, ...droppers]) {
      const rounds = name === 'role_create' ? Object.values(roles) : ['']
      for (const role of rounds)
        await paste(session, `demo/${name}`, fillIn(readSql(`demo/${name}`), { ...tokens, role }))
    }
  })
})

/** One statement makes a schema; all others need one that is there. */
function schemaFor(db: TestDatabase, name: string): string {
  return name === 'schema_create' ? `${db.schema} new` : db.schema
}

async function openSession(db: TestDatabase): Promise<postgres.Sql> {
  const session = db.connect()
  // Plans for no value in particular: nothing of a statement is left out because a value is null.
  await session.unsafe('set plan_cache_mode = force_generic_plan')
  return session
}

async function rolledBack(session: postgres.Sql, work: () => Promise<void>): Promise<void> {
  await session.unsafe('begin')
  try {
    await work()
  } finally {
    await session.unsafe('rollback')
  }
}

/**
 * What can be prepared is parsed and planned, and not run. Everything else is run: it makes, grants or drops something.
 */
async function paste(session: postgres.Sql, what: string, text: string): Promise<void> {
  try {
    if (canBePrepared(text)) await plan(session, text)
    else await session.unsafe(text)
  } catch (error) {
    throw new Error(`${what} cannot be pasted: ${String(error)}`, { cause: error })
  }
}

function canBePrepared(text: string): boolean {
  return /^(?:--.*\n|\/\*.*?\*\/|\s)*(?:with|select|insert|update|delete)\b/.test(text)
}

async function plan(session: postgres.Sql, text: string): Promise<void> {
  await session.unsafe(`prepare pasted as\n${text}`)
  const [pasted] = await session.unsafe<{ parameters: number }[]>(
    `select cardinality(parameter_types)::int as parameters from pg_prepared_statements where name = 'pasted'`,
  )
  const values = Array.from({ length: pasted?.parameters ?? 0 }, () => 'null').join(', ')
  await session.unsafe(`explain execute pasted${values && `(${values})`}`)
  await session.unsafe('deallocate pasted')
}
