import { fillIn, readSql, sqlNames, withoutComments } from './sql-files.js'

/**
 * The library's statements and migrations, with the schema's name filled in. Their texts are put together at import.
 */

const statementNames = [
  'act_on_archived',
  'act_on_jobs',
  'asleep_holders',
  'asleep_release',
  'asleep_take',
  'blockers',
  'call',
  'cancel',
  'cancelled',
  'channel',
  'claim',
  'claim_kinds',
  'claim_listed',
  'claim_some',
  'claimable',
  'collect_archived',
  'collect_expired',
  'collect_failed',
  'collect_keys',
  'discard',
  'doze',
  'edit',
  'express_ack',
  'express_begin',
  'express_claim',
  'express_commit',
  'express_keep',
  'express_lock',
  'express_session',
  'express_table',
  'express_terminate',
  'health',
  'heartbeat',
  'job_find',
  'jobs_containing',
  'jobs_find',
  'jobs_listed',
  'keep_express',
  'make_due',
  'migration_applied',
  'migration_begin',
  'migration_blockers',
  'migration_follows',
  'migration_insert',
  'migration_lock',
  'migration_settings',
  'orphans',
  'own_process',
  'ping',
  'presence_holders',
  'presence_take',
  'presence_terminate',
  'promotable',
  'promote',
  'put',
  'put_keyed',
  'put_many',
  'put_options',
  'queue_pause',
  'queue_resume',
  'requeue',
  'rescue',
  'reset',
  'result_locks',
  'result_look',
  'scheduled',
  'schema_create',
  'schema_drop',
  'session_settings',
  'settle',
  'settle_express',
  'settle_other',
  'state',
  'state_identified',
  'stats_exact',
  'stats_queues',
  'stats_workers',
  'sweep',
  'worker_bury',
  'worker_delete',
  'worker_insert',
  'worker_lane',
  'writers',
] as const

export type StatementName = (typeof statementNames)[number]
export type Statements = Readonly<Record<StatementName, string>>

/**
 * Statements that differ from another one, the base, in one part of it. The base is a whole statement, in which marks
 * stand around the part, wherever it comes (`-- begin picked`, `-- end picked`). What the variant has there is in
 * `parts/<base>.<part>.<variant>.sql`.
 */
const variants: { readonly [Name in StatementName]?: readonly [base: StatementName, part: string] } = {
  act_on_archived: ['act_on_jobs', 'source'],
  claim_kinds: ['claim', 'picked'],
  claim_listed: ['claim', 'picked'],
  claim_some: ['claim', 'asked'],
  job_find: ['jobs_find', 'page'],
  jobs_listed: ['jobs_find', 'page'],
  state_identified: ['state', 'identity'],
}

const statementFiles = new Map(statementNames.map((name) => [name, withoutComments(statementText(name))] as const))

export interface Migration {
  readonly number: number
  readonly name: string
  readonly text: string
}

const migrationFiles: readonly Migration[] = sqlNames('migrations')
  .filter((name) => /^\d{4}_/.test(name))
  .map((name) => ({
    number: Number(name.slice(0, 4)),
    name,
    text: withoutComments(readSql(`migrations/${name}`)),
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

function statementText(name: StatementName): string {
  const [base, part] = variants[name] ?? []
  if (base === undefined) return readSql(`statements/${name}`)
  const own = readSql(`statements/parts/${base}.${part}.${name}`)
  const marked = new RegExp(`^ *-- begin ${part}\\n.*?^ *-- end ${part}\\n`, 'gms')
  return readSql(`statements/${base}`).replace(marked, () => own)
}
