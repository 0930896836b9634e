import createDebug from 'debug'
import { deadline } from '../deadline.js'
import { BugleError, toError } from '../errors.js'
import type { Connection } from './connection.js'
import { databaseDown, schemaTooNew } from './database.js'
import { callError, privilegeError } from './fault.js'
import { anyServer, openSession, readState, type Session, type SessionRequest } from './session.js'
import { quoteIdentifier } from './sql-files.js'
import { loadMigrations, loadStatements, type Migration, newestMigration, type Statements } from './statements.js'
import { demandSessions, demandUsable } from './unusable.js'
import { databaseFault, sqlState } from './verdict.js'

const log = createDebug('bugle:migrate')

/** What a migration did. */
export interface MigrationReport {
  readonly schema: string
  /** The step before; 0 for a database without our tables. */
  readonly from: number
  readonly to: number
  /** Names of the steps that this call has run, such as '0001_jobs'. */
  readonly applied: readonly string[]
}

/** How long a step waits for a lock of another session's: that of another migration, or of a table. */
const lockPatienceMs = 60_000
/** Above the server's own time-out, so that its answer is heard. */
const answerMs = 10_000

/**
 * Bring the schema to this version's newest step.
 *
 * Several processes may call it at once. Each step is a transaction of its own: it takes the schema's advisory lock,
 * looks which step is due now, runs it and remembers it. So each step runs once, whoever is first; a failed one leaves
 * nothing and can be repeated; and the lock ends with the transaction, also where that of a process which was killed is
 * ended by the server. A session would be no place for the lock: behind a pooler others have the session next.
 *
 * What can interleave: another process runs the step for which this one waits. The look after the wait finds that step
 * done, and the next one due. Nobody waits where nothing is due.
 *
 * @param patienceMs - how long to wait for a lock
 * @throws BugleError `DATABASE_DOWN`; `SCHEMA_TOO_NEW`: a newer version was here; `SCHEMA_UNUSABLE`: something of
 *   others is in the way; `MIGRATION_BLOCKED`: a session kept a lock for longer than `patienceMs`; `NO_PRIVILEGE`;
 *   `RESULT_UNKNOWN`: the connection was lost; PostgreSQL's error if a step fails otherwise
 */
export async function migrate(
  connection: Connection,
  schema: string,
  name: string,
  patienceMs = lockPatienceMs,
): Promise<MigrationReport> {
  const statements = loadStatements(schema)
  const session = await reach(connection, statements, name)
  const { user, database } = connection
  const migration: Running = { session, statements, schema, user, database, patienceMs }
  const applied: string[] = []
  try {
    const { step: from } = await look(migration)
    for (let step = from; step < newestMigration; { step } = await look(migration)) {
      const ran = await runNext(migration)
      if (ran !== null) applied.push(ran)
    }
    return { schema, from, to: newestMigration, applied }
  } finally {
    await session.end()
  }
}

interface Running {
  readonly session: Session
  readonly statements: Statements
  readonly schema: string
  readonly user: string
  readonly database: string
  readonly patienceMs: number
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
   * Those steps as a script for psql: each the transaction that `migrate` would make of it, which fails unless the step
   * before it is the last one by then.
   */
  readonly script: string
}

/**
 * Nothing is changed, and nobody waited for.
 *
 * @throws BugleError `DATABASE_DOWN`, `SCHEMA_UNUSABLE`, `NO_PRIVILEGE`
 */
export async function planMigration(connection: Connection, schema: string, name: string): Promise<MigrationPlan> {
  const statements = loadStatements(schema)
  const session = await reach(connection, statements, name, anyServer(connection))
  try {
    const { state } = session
    demandUsable(schema, state, connection.user)
    const version = state.migrated ? await lastApplied(session, statements) : 0
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
  const { migration_begin, migration_settings, migration_lock, migration_follows, migration_insert } = statements
  const settings = migration_settings.replace('$1::text', `'${lockPatienceMs}'`)
  const steps = due.map((step, index) => {
    const number = String(step.number)
    // What step 1 creates is the guard against its coming twice.
    const guard = step.number === 1 ? [] : [migration_follows.replace('$1::int', number)]
    const before = index === 0 ? first : []
    const entry = migration_insert.replace('$1::int', number).replace('$2::text', `'${step.name}'`)
    const parts = [migration_begin, settings, migration_lock, ...guard, ...before, step.text, entry, 'commit']
    return [`-- ${step.name}`, ...parts.map(ended)].join('\n\n')
  })
  return `${steps.join('\n\n')}\n`
}

function ended(statement: string): string {
  return statement.endsWith(';') ? statement : `${statement};`
}

/**
 * No settings: they are those of each transaction. So the session may be any pooler's.
 *
 * @param admitting - default: only a server that takes our writes
 */
async function reach(
  connection: Connection,
  statements: Statements,
  name: string,
  admitting: Pick<SessionRequest, 'admit'> = {},
): Promise<Session> {
  let session: Session
  try {
    session = await openSession({
      connection,
      stateStatement: statements.state,
      name: `${name} migrate`,
      ...admitting,
    })
  } catch (error) {
    throw databaseDown(connection, error)
  }
  try {
    demandSessions(session.state)
    return session
  } catch (error) {
    await session.end()
    throw error
  }
}

/** What a schema has before a step. */
interface Found {
  /** The last step; 0: none. */
  readonly step: number
  readonly schemaExists: boolean
}

/** @throws BugleError `SCHEMA_TOO_NEW`, `SCHEMA_UNUSABLE`, `NO_PRIVILEGE`, `DATABASE_DOWN` */
async function look({ session, statements, schema, user }: Running): Promise<Found> {
  const asked = deadline(session.client.query(statements.state), answerMs, 'looking at the schema')
  const state = readState((await asked.catch(cannotLook)).rows[0])
  demandUsable(schema, state, user)
  const step = state.migrated ? await lastApplied(session, statements) : 0
  if (step > newestMigration) throw schemaTooNew(schema, step)
  return { step, schemaExists: state.schemaExists }
}

async function lastApplied({ client }: Session, statements: Statements): Promise<number> {
  const asked = client.query<{ number: number }>(statements.migration_applied)
  const { rows } = await deadline(asked, answerMs, 'reading the migrations').catch(cannotLook)
  return rows.at(-1)?.number ?? 0
}

function cannotLook(error: unknown): never {
  throw callError('migrate', error, 'reads')
}

/** @returns the name of the step that was run; null: none was due any more */
async function runNext(migration: Running): Promise<string | null> {
  const { session, statements, patienceMs } = migration
  const { client } = session
  let found: Found | null = null
  try {
    await deadline(client.query(statements.migration_begin), answerMs, 'beginning a step')
    await deadline(
      client.query(statements.migration_settings, [String(patienceMs)]),
      answerMs,
      'the settings of a step',
    )
    await deadline(client.query(statements.migration_lock), patienceMs + answerMs, 'the lock of migrations')
    found = await look(migration)
    const step = await runDue(migration, found)
    await client.query('commit')
    return step
  } catch (error) {
    // A rollback that fails as well must not hide why.
    await deadline(client.query('rollback'), answerMs, 'rollback').catch((failed) =>
      log('rollback: %s', toError(failed).message),
    )
    throw await stepError(migration, error, found)
  }
}

/** Once the lock is held. */
async function runDue(
  { session, statements, schema }: Running,
  { step: last, schemaExists }: Found,
): Promise<string | null> {
  const { client } = session
  const step = loadMigrations(schema).find(({ number }) => number > last)
  if (step === undefined) return null
  log('%s: %s', schema, step.name)
  if (!schemaExists) await client.query(statements.schema_create)
  await client.query(step.text)
  await client.query(statements.migration_insert, [step.number, step.name])
  return step.name
}

/** duplicate_table, duplicate_object, duplicate_function: something has the name already that a step gives. */
const taken = ['42P07', '42710', '42723']

/**
 * A failed step as its caller should see it.
 *
 * @param found - null: it failed before anything was to be made
 */
async function stepError(migration: Running, error: unknown, found: Found | null): Promise<unknown> {
  const { schema } = migration
  const state = sqlState(error) ?? ''
  if (taken.includes(state)) {
    const message =
      `schema ${JSON.stringify(schema)} cannot be migrated: ${toError(error).message}, and that is not Bugle's: ` +
      'rename it, or give Bugle a schema of its own (the option `schema`, or --schema)'
    return new BugleError('SCHEMA_UNUSABLE', message, { cause: error })
  }
  if (found !== null && state === '42501') return mayNot(migration, error, found)
  if (state !== '55P03') return isLost(error) ? callError('migrate', error, 'writes') : error
  const who = await blockers(migration).catch((failed) => {
    log('the blockers: %s', toError(failed).message)
    return 'another session'
  })
  const message =
    `schema ${JSON.stringify(schema)} cannot be migrated: for ${migration.patienceMs / 1_000} s a lock was held by ` +
    `${who}: wait for that, or end it (select pg_terminate_backend(PID)), and migrate again`
  return new BugleError('MIGRATION_BLOCKED', message, { cause: error })
}

/** What a step needs depends on what is there: `bugle grants` gives none of it. */
function mayNot({ schema, user, database }: Running, error: unknown, { step, schemaExists }: Found): BugleError {
  const [name, role] = [quoteIdentifier(schema), quoteIdentifier(user)]
  const remedy =
    step > 0
      ? 'only the role that owns its tables may migrate it further: connect as that role'
      : schemaExists
        ? `connect as its owner, or let that role run: grant usage, create on schema ${name} to ${role};`
        : 'connect as a role that may create schemas in this database, or let its owner run: ' +
          `grant create on database ${quoteIdentifier(database)} to ${role};`
  const what = `schema ${JSON.stringify(schema)} cannot be migrated by role ${JSON.stringify(user)}`
  return privilegeError(`${what}: ${toError(error).message}`, remedy, error)
}

/** The connection was: whether the step's commit was heard is not known. */
function isLost(error: unknown): boolean {
  return ['down', 'unknown'].includes(databaseFault(error))
}

interface Blocker {
  readonly pid: number
  /** null: the session was gone when its name was looked up. */
  readonly name: string | null
  readonly is_migrator: boolean
}

async function blockers({ session, statements }: Running): Promise<string> {
  const asked = session.client.query<Blocker>(statements.migration_blockers)
  const { rows } = await deadline(asked, answerMs, 'the blockers')
  // Of a table that is only being made, nobody else sees that it is of this schema.
  if (rows.length === 0) return 'another session (pg_locks shows which)'
  return rows
    .map(({ pid, name, is_migrator: isMigrator }) => {
      const who = name ? ` (${JSON.stringify(name)})` : ''
      return `pid ${pid}${who}, ${isMigrator ? 'which migrates' : 'which uses the tables'}`
    })
    .join('; ')
}
