import postgres from 'postgres'
import { type Bugle, type BugleOptions, createBugle } from '../../src/index.js'
import { type CommandEnded, runInProcess } from './command.js'
import { test as base } from './database.js'

export type RoleName = 'owner' | 'producer' | 'consumer' | 'observer' | 'blind'

/**
 * A further schema, of an owner who is no superuser, with the roles to which the SQL was granted that `bugle grants`
 * prints: all connected to as themselves. `blind` is an observer without payloads.
 */
export interface Roles {
  readonly schema: string
  /** The quoted name, for SQL text. */
  readonly s: string
  readonly names: Readonly<Record<RoleName, string>>
  connectionString(role: RoleName): string
  /** An instance of that role's, closed after the test. */
  bugle(role: RoleName, options?: BugleOptions): Bugle
  /** One session of that role's, ended after the test. */
  connect(role: RoleName): postgres.Sql
  /** Everything in the schema, rows, definitions and privileges: to see that nothing has changed. */
  snapshot(): Promise<unknown>
}

/** `bugle grants …` in this process, without any database. */
export function runGrants(args: readonly string[]): Promise<CommandEnded> {
  const { DATABASE_URL: _, ...env } = process.env
  return runInProcess(['grants', ...args], { env })
}

/** The script as psql runs it: its own commands are not SQL. */
export function withoutPsqlCommands(script: string): string {
  return script.replaceAll(/^\\.*$/gm, '')
}

export const test = base.extend<{ roles: Roles }>({
  roles: async ({ db }, use) => {
    // Quotes, spaces, dashes, what looks like a token and a cast: the script must quote them.
    const schema = `${db.schema} "of" :"role"`
    const s = `"${schema.replaceAll('"', '""')}"`
    const id = db.schema.slice(5)
    const names = {
      owner: `Owner ${id}`,
      producer: `pro"ducer; -- ${id}`,
      consumer: `con'sumer :"schema" ${id}`,
      observer: `ob\\server ${id}`,
      blind: `blind/${id}`,
    }
    const q = (role: RoleName) => `"${names[role].replaceAll('"', '""')}"`
    const roles = Object.keys(names) as RoleName[]
    const connections: postgres.Sql[] = []
    const bugles: Bugle[] = []
    function connectionString(role: RoleName): string {
      const url = new URL(db.connectionString)
      url.username = encodeURIComponent(names[role])
      return url.href
    }
    const fixture: Roles = {
      schema,
      s,
      names,
      connectionString,
      bugle(role, options = {}) {
        const bugle = createBugle({
          connectionString: connectionString(role),
          schema,
          sweepMs: 0,
          logger: false,
          ...options,
        })
        bugles.push(bugle)
        return bugle
      },
      connect(role) {
        const options = { onnotice: () => {}, max: 1, idle_timeout: 0, user: names[role] }
        const connection = postgres(db.connectionString, options)
        connections.push(connection)
        return connection
      },
      async snapshot() {
        const found: Record<string, unknown> = {}
        for (const table of ['job', 'archive', 'queue', 'taken_key', 'worker', 'migration']) {
          found[table] = [...(await db.sql.unsafe(`select * from ${s}.${table} as t order by t::text`))]
        }
        const [schemaRow] = await db.sql`
          select oid, nspowner, nspacl::text from pg_namespace where nspname = ${schema}`
        found.schema = schemaRow
        for (const [what, query] of Object.entries(catalogs)) {
          found[what] = [...(await db.sql.unsafe(query, [schemaRow?.oid ?? 0]))]
        }
        return found
      },
    }
    for (const role of roles) await db.sql.unsafe(`create role ${q(role)} login`)
    await db.sql.unsafe(`create schema ${s} authorization ${q('owner')}`)
    await fixture.bugle('owner').migrate()
    // What default privileges, or a generous hand, may have given to everybody.
    await db.sql.unsafe(`
      grant usage, create on schema ${s} to public;
      grant all on all tables in schema ${s} to public;
      grant all on all sequences in schema ${s} to public;
      grant execute on all functions in schema ${s} to public`)
    const granted = ['producer', 'consumer', 'observer'].flatMap((role) => [`--${role}`, names[role as RoleName]])
    const own = ['--schema', schema]
    for (const args of [
      [...own, ...granted],
      [...own, '--observer', names.blind, '--no-payloads'],
    ]) {
      const { stdout, stderr } = await runGrants(args)
      if (stderr !== '') throw new Error(stderr)
      await fixture.connect('owner').unsafe(withoutPsqlCommands(stdout)).simple()
    }
    try {
      await use(fixture)
    } finally {
      await Promise.all(bugles.map((bugle) => bugle.close()))
      await Promise.all(connections.map((connection) => connection.end({ timeout: 1 })))
      await db.sql.unsafe(`drop schema ${s} cascade`)
      for (const role of roles) await db.sql.unsafe(`drop owned by ${q(role)}`)
      await db.sql.unsafe(`drop role ${roles.map(q).join()}`)
    }
  },
})

/** What stands in the catalogs of a schema, by its oid. */
const catalogs = {
  relations: `
    select relname, relowner, relacl::text, relkind, relhastriggers
    from pg_class where relnamespace = $1::oid order by relname`,
  columns: `
    select relname, attname, attacl::text
    from pg_attribute join pg_class on pg_class.oid = attrelid
    where relnamespace = $1::oid and attnum > 0 order by relname, attnum`,
  functions: `
    select proname, proowner, proacl::text, prosrc from pg_proc where pronamespace = $1::oid order by proname`,
  operators: `select oprname from pg_operator where oprnamespace = $1::oid`,
  triggers: `
    select tgname, tgenabled from pg_trigger join pg_class on pg_class.oid = tgrelid
    where relnamespace = $1::oid order by tgname`,
  sequence: `
    select relname from pg_class where relnamespace = $1::oid and relkind = 'S'`,
} as const
