import createDebug from 'debug'
import { toError } from '../errors.js'
import type { Connection } from './connection.js'
import { databaseDown, schemaTooNew } from './database.js'
import { openSession, readState, type Session } from './session.js'
import { loadMigrations, loadStatements, type Migration, newestMigration } from './statements.js'

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
