import { randomUUID } from 'node:crypto'
import type postgres from 'postgres'
import { loadMigrations, loadStatements } from '../../src/database/statements.js'
import { until } from './until.js'

/** The schemas of one test file: each serves one test at a time, and a further one after a green test. */
export interface Schemas {
  /** A schema as migrate() makes it, with empty tables. */
  take(): Promise<string>
  /** A test has passed with it. It is emptied when the next test takes it: by then the test's processes are gone. */
  giveBack(schema: string): void
  /** Drop all that were given back. */
  end(): Promise<void>
}

/**
 * Emptying a schema costs a third of making one, and few tests change more than rows. A test may change anything all
 * the same: a schema is dropped and not handed on if its catalog rows are not those of its beginning, or its tables
 * were vacuumed or analysed.
 *
 * Not seen, and so left to the test: what lies beside the schema (roles, other schemas, advisory locks) and the
 * cumulative statistics of its tables.
 */
export function createSchemas(sql: postgres.Sql): Schemas {
  const unused: string[] = []
  const beginnings = new Map<string, string>()

  async function create(): Promise<string> {
    const schema = `test-${randomUUID().slice(0, 8)}`
    // As migrate() does it, which has tests of its own, in one round trip.
    const steps = loadMigrations(schema).flatMap(({ number, name, text }) => [
      text,
      `insert into "${schema}".migration (number, name) values (${number}, '${name}')`,
    ])
    await sql.unsafe([loadStatements(schema).schema_create, ...steps].join(';\n'))
    beginnings.set(schema, await fingerprint(sql, schema))
    return schema
  }

  async function isAsAtItsBeginning(schema: string): Promise<boolean> {
    // No fingerprint can be had of a schema that has lost a table.
    return (await fingerprint(sql, schema).catch(() => null)) === beginnings.get(schema)
  }

  return {
    async take() {
      for (;;) {
        const schema = unused.pop()
        if (schema === undefined) return create()
        if (!(await isForgotten(sql, schema)) || !(await isAsAtItsBeginning(schema))) await drop(sql, schema)
        else if (await empty(sql, schema)) return schema
      }
    },
    giveBack: (schema) => void unused.push(schema),
    async end() {
      for (const schema of unused.splice(0)) await drop(sql, schema)
    },
  }
}

/** Somebody who holds a lock keeps the schema: the next test is not to wait for what the last one has left. */
async function change(sql: postgres.Sql, statement: string): Promise<boolean> {
  try {
    // In one message, and so in one transaction: the driver's `begin` may wait for a connection for ever.
    await sql.unsafe(`set local lock_timeout = '2s'; ${statement}`)
    return true
  } catch (error) {
    if ((error as { code?: unknown }).code === '55P03') return false
    throw error
  }
}

const drop = (sql: postgres.Sql, schema: string): Promise<boolean> =>
  change(sql, `drop schema if exists "${schema}" cascade`)

/**
 * What a killed process has sent may still run: waits until no session is left whose last statement names the schema.
 *
 * @returns false: somebody keeps a session open
 */
async function isForgotten(sql: postgres.Sql, schema: string): Promise<boolean> {
  const own = sql.options.connection.application_name ?? ''
  const patienceEndsAt = performance.now() + 1_000
  let sessions = 0
  await until(async () => {
    const rows = await sql`
      select from pg_stat_activity where application_name <> ${own} and strpos(query, ${schema}) > 0`
    sessions = rows.length
    return sessions === 0 || performance.now() > patienceEndsAt
  })
  return sessions === 0
}

/** @returns whether it could */
async function empty(sql: postgres.Sql, schema: string): Promise<boolean> {
  // Always the jobs: with them the ids begin at 1 again. Most tests leave the other tables untouched, and each costs a
  // file per index.
  const others = ['archive', 'queue', 'taken_key', 'worker'].map((table) => `"${schema}".${table}`)
  const used = await sql.unsafe<{ name: string }[]>(
    'select name from unnest($1::text[]) as tables (name) where pg_relation_size(name::regclass) > 0',
    [others],
  )
  const tables = [`"${schema}".job`, ...used.map(({ name }) => name)]
  return change(sql, `truncate ${tables.join(', ')} restart identity`)
}

/** Which catalog rows there are, and which transactions wrote them last. */
async function fingerprint(sql: postgres.Sql, schema: string): Promise<string> {
  const [row] = await sql<{ fingerprint: string }[]>`
    with space as (select oid, xmin from pg_namespace where nspname = ${schema}),
    relation as (select class.* from pg_class as class join space on relnamespace = space.oid)
    select md5(concat(
      (select xmin from space),
      -- Emptying a table writes its row in pg_class anew, with another file. VACUUM and ANALYZE change reltuples.
      (select string_agg(
          concat_ws(
            ' ', oid, relname, relowner, relacl::text, reloptions::text, relpersistence, relrowsecurity,
            relforcerowsecurity, case when relkind = 'r' then reltuples end
          ),
          ',' order by oid
        )
        from relation),
      (select string_agg(concat(indexrelid, index.xmin), ',' order by indexrelid)
        from pg_index as index join relation on indrelid = relation.oid),
      (select string_agg(concat(attribute.xmin), ',' order by attrelid, attnum)
        from pg_attribute as attribute join relation on attrelid = relation.oid),
      (select string_agg(concat(trigger.oid, trigger.xmin), ',' order by trigger.oid)
        from pg_trigger as trigger join relation on tgrelid = relation.oid),
      (select string_agg(concat(rule.oid, rule.xmin), ',' order by rule.oid)
        from pg_rewrite as rule join relation on ev_class = relation.oid),
      (select string_agg(concat(function.oid, function.xmin), ',' order by function.oid)
        from pg_proc as function join space on pronamespace = space.oid),
      (select string_agg(concat(type.oid, type.xmin), ',' order by type.oid)
        from pg_type as type join space on typnamespace = space.oid),
      (select string_agg(concat(rule.oid, rule.xmin), ',' order by rule.oid)
        from pg_constraint as rule join space on connamespace = space.oid),
      (select count(*) from pg_statistic join relation on starelid = relation.oid),
      (select string_agg(concat(number, xmin), ',' order by number) from ${sql(schema)}.migration)
    )) as fingerprint`
  if (row === undefined) throw new Error(`nothing is known of ${schema}`)
  return row.fingerprint
}
