import { readdirSync, readFileSync } from 'node:fs'

/**
 * The SQL of `sql/`, with the schema's name filled in: the only module that reads files at import,
 * by the same path from `src/` and `dist/`.
 */
const sqlDirectory = new URL('../../sql/', import.meta.url)

const statementNames = [
  'asleep_others',
  'asleep_release',
  'asleep_take',
  'cancel',
  'cancelled',
  'channel',
  'claim',
  'claim_kinds',
  'collect_archived',
  'collect_failed',
  'health',
  'heartbeat',
  'job_find',
  'jobs_find',
  'make_due',
  'migration_applied',
  'migration_follows',
  'migration_insert',
  'migration_lock',
  'migration_unlock',
  'ping',
  'presence_holders',
  'presence_take',
  'presence_terminate',
  'promote',
  'put',
  'put_keep',
  'put_many',
  'put_options',
  'put_reject',
  'put_replace',
  'queue_pause',
  'queue_resume',
  'requeue',
  'requeue_archived',
  'requeue_failed',
  'rescue',
  'reset',
  'scheduled',
  'schema_create',
  'schema_drop',
  'settle',
  'settle_other',
  'state',
  'stats_queues',
  'stats_workers',
  'sweep',
  'worker_bury',
  'worker_delete',
  'worker_insert',
  'writers',
] as const

export type StatementName = (typeof statementNames)[number]
export type Statements = Readonly<Record<StatementName, string>>

/** Statements that differ from another in one part of it. */
const variants: { readonly [Name in StatementName]?: readonly [base: StatementName, part: string] } = {
  claim_kinds: ['claim', 'picked'],
  job_find: ['jobs_find', 'page'],
  put_reject: ['put_options', 'conflict'],
  requeue_archived: ['requeue_failed', 'source'],
}

const statementFiles = new Map(statementNames.map((name) => [name, withoutComments(statementText(name))] as const))

export interface Migration {
  readonly number: number
  readonly name: string
  readonly text: string
}

const migrationFiles: readonly Migration[] = readdirSync(new URL('migrations/', sqlDirectory))
  .filter((file) => /^\d{4}_.*\.sql$/.test(file))
  .sort()
  .map((file) => ({
    number: Number(file.slice(0, 4)),
    name: file.slice(0, -4),
    text: withoutComments(read(`migrations/${file}`)),
  }))

/** The number of the newest migration that this version of Bugle knows. */
export const newestMigration = migrationFiles.at(-1)?.number ?? 0

/** Every statement, ready to send. The name goes along as a comment, for those who read pg_stat_activity. */
export function loadStatements(schema: string): Statements {
  const loaded = {} as Record<StatementName, string>
  for (const [name, text] of statementFiles) loaded[name] = fillIn(`/* bugle ${name} */ ${text}`, { schema })
  return loaded
}

/** Every migration, in order, ready to run. */
export function loadMigrations(schema: string): readonly Migration[] {
  return migrationFiles.map((migration) => ({ ...migration, text: fillIn(migration.text, { schema }) }))
}

export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

function quoteLiteral(text: string): string {
  // E'' only where it is needed: a plain literal reads backslashes by standard_conforming_strings.
  const quoted = `'${text.replaceAll("'", "''").replaceAll('\\', '\\\\')}'`
  return text.includes('\\') ? ` E${quoted}` : quoted
}

/** The tokens of psql: `:"schema"` as an identifier, `:'schema'` as a literal. One that is not given stays. */
export function fillIn(text: string, tokens: Readonly<Record<string, string>>): string {
  // In one pass: a name itself may look like a token.
  return text.replaceAll(/:(["'])(\w+)\1/g, (token, quote: string, name: string) => {
    const value = tokens[name]
    if (value === undefined) return token
    return quote === '"' ? quoteIdentifier(value) : quoteLiteral(value)
  })
}

/** A file's text; or that of the statement it varies, with what it holds between that one's marks. */
function statementText(name: StatementName): string {
  const text = read(`statements/${name}.sql`)
  const [base, part] = variants[name] ?? []
  if (base === undefined) return text
  const marked = new RegExp(`^ *-- begin ${part}\\n.*^ *-- end ${part}\\n`, 'ms')
  return read(`statements/${base}.sql`).replace(marked, () => text)
}

// A comment may hold a token, and a schema's name a line end.
export function withoutComments(text: string): string {
  return text
    .split('\n')
    .filter((line) => !/^\s*--/.test(line))
    .join('\n')
    .trim()
}

function read(path: string): string {
  return readFileSync(new URL(path, sqlDirectory), 'utf8')
}
