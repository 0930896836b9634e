import createDebug from 'debug'
import { toError } from '../errors.js'
import type { Connection } from './connection.js'
import { databaseDown, schemaTooNew } from './database.js'
import { openSession, readState, type Session } from './session.js'
import { loadMigrations, loadStatements, type Migration, newestMigration, type Statements } from './statements.js'

const log = createDebug('bugle:migrate')

/** What a migration did. */
export interface MigrationReport {
  readonly schema: string
  /** The step before; 0 for a database without our tables. */
  readonly from: number
  readonly to: number
  /** Names of the steps that were run now, such as '0001_jobs'. */
  readonly applied: readonly string[]
}

/**
 * Bring the schema to this version's newest step.
 *
 * Several processes may call it at once: an advisory lock lets one in, and the others find the work done. Each step is
 * a transaction of its own together with its entry in `migration`, so a failed one leaves nothing and can be repeated.
 *
 * @throws BugleError `DATABASE_DOWN`, or `SCHEMA_TOO_NEW` where a newer version was here; PostgreSQL's error if a step
 *   fails, such as a missing privilege
 */
export async function migrate(connection: Connection, schema: string, name: string): Promise<MigrationReport> {
  const statements = loadStatements(schema)
  const session = await reach(connection, statements.state, name)
  try {
    await session.client.query(statements.migration_lock)
    // Only now: another process may have migrated while we waited for the lock.
    const { rows } = await session.client.query<Record<string, unknown>>(statements.state)
    const state = readState(rows[0])
    const first = state.schemaExists ? [] : [statements.schema_create]
    const from = state.migrated ? await lastStep(session, statements.migration_applied) : 0
    if (from > newestMigration) throw schemaTooNew(schema, from)

    const due = loadMigrations(schema).filter((step) => step.number > from)
    for (const step of due) {
      log('%s: %s', schema, step.name)
      await runStep(session, step, step === due[0] ? first : [], statements.migration_insert)
    }
    return { schema, from, to: newestMigration, applied: due.map((step) => step.name) }
  } finally {
    // Ends the lock as well.
    await session.end()
  }
}

/** What `migrate` would do now. */
interface MigrationPlan {
  readonly schema: string
  /** The schema's last step; 0: it has none of our tables. It may be newer than what is known here. */
  readonly version: number
  /** The newest step that is known here. */
  readonly newest: number
  /** Names of the steps that are due. */
  readonly due: readonly string[]
  /**
   * Those steps as a script for psql: each a transaction with its entry in `migration`, which fails unless the step
   * before it is the last one by then; under the lock of `migrate`.
   */
  readonly script: string
}

/**
 * Nothing is changed, and nobody waited for.
 *
 * @throws BugleError `DATABASE_DOWN`
 */
export async function planMigration(connection: Connection, schema: string, name: string): Promise<MigrationPlan> {
  const statements = loadStatements(schema)
  const session = await reach(connection, statements.state, name)
  try {
    const { state } = session
    const version = state.migrated ? await lastStep(session, statements.migration_applied) : 0
    const due = loadMigrations(schema).filter((step) => step.number > version)
    const first = state.schemaExists ? [] : [statements.schema_create]
    return {
      schema,
      version,
      newest: newestMigration,
      due: due.map((step) => step.name),
      script: due.length === 0 ? '' : scriptOf(due, first, statements),
    }
  } finally {
    await session.end()
  }
}

function scriptOf(due: readonly Migration[], first: readonly string[], statements: Statements): string {
  const steps = due.map((step, index) => {
    const number = String(step.number)
    // What step 1 creates is the guard against its coming twice.
    const guard = step.number === 1 ? [] : [statements.migration_follows.replace('$1::int', number)]
    const before = index === 0 ? first : []
    const entry = statements.migration_insert.replace('$1::int', number).replace('$2::text', `'${step.name}'`)
    return [`-- ${step.name}`, ...['begin', ...guard, ...before, step.text, entry, 'commit'].map(ended)].join('\n\n')
  })
  return `${[ended(statements.migration_lock), ...steps, ended(statements.migration_unlock)].join('\n\n')}\n`
}

function ended(statement: string): string {
  return statement.endsWith(';') ? statement : `${statement};`
}

async function reach(connection: Connection, stateStatement: string, name: string): Promise<Session> {
  try {
    return await openSession({
      connection,
      stateStatement,
      name: `${name} migrate`,
      settings: { statement_timeout: '0', lock_timeout: '0', default_transaction_read_only: 'off' },
    })
  } catch (error) {
    throw databaseDown(connection, error)
  }
}

async function lastStep({ client }: Session, statement: string): Promise<number> {
  const { rows } = await client.query<{ number: number }>(statement)
  return rows.at(-1)?.number ?? 0
}

async function runStep(
  { client }: Session,
  step: Migration,
  before: readonly string[],
  remember: string,
): Promise<void> {
  await client.query('begin')
  try {
    for (const text of [...before, step.text]) await client.query(text)
    await client.query(remember, [step.number, step.name])
    await client.query('commit')
  } catch (error) {
    // A rollback that fails as well must not hide why.
    await client.query('rollback').catch((failed) => log('rollback: %s', toError(failed).message))
    throw error
  }
}
