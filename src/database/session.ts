import { Socket } from 'node:net'
import createDebug from 'debug'
import pg from 'pg'
import postgres from 'postgres'
import { deadline } from '../deadline.js'
import { toError } from '../errors.js'
import { type Connection, type Host, pgConfig } from './connection.js'
import type { SessionClient, SessionFields } from './driver.js'
import { sqlState } from './verdict.js'

const log = createDebug('bugle:session')

/**
 * What every session of ours sets, because a role or a database may default otherwise.
 *
 * Not default_transaction_read_only: where it is on, whoever runs the database wants no writes by this role, or by
 * anybody, as providers do when a disk is nearly full. That is obeyed: such a server takes no writes for us
 * (`ReadOnlyError`).
 *
 * Plans are fixed, not hoped for. A queue that autovacuum visited while it was empty gets a plan of seq scan and sort
 * (measured: 92 jobs a second instead of 23,000). So whatever is not an index scan or a nested loop is off, the
 * statements are written so that one plan is left, and that one is made once: generic plans.
 *
 * @param serverVersion - server_version_num; older servers refuse settings that they do not know
 * @param statementTimeoutMs - below the deadline with which we wait: what we have given up on is rolled back
 * @see https://www.postgresql.org/docs/current/runtime-config-client.html
 */
export function sessionSettings(serverVersion: number, statementTimeoutMs: number): Readonly<Record<string, string>> {
  return {
    default_transaction_isolation: 'read committed',
    default_transaction_deferrable: 'off',
    statement_timeout: String(statementTimeoutMs),
    lock_timeout: '5s',
    idle_in_transaction_session_timeout: '0',
    ...(serverVersion >= 140000 && { idle_session_timeout: '0' }),
    ...(serverVersion >= 170000 && { transaction_timeout: '0' }),
    search_path: 'pg_catalog',
    DateStyle: 'ISO',
    plan_cache_mode: genericPlans,
    // What is left on must be: a role may have any of it off.
    enable_indexscan: 'on',
    enable_indexonlyscan: 'on',
    enable_nestloop: 'on',
    enable_seqscan: 'off',
    enable_sort: 'off',
    enable_bitmapscan: 'off',
    enable_hashjoin: 'off',
    enable_mergejoin: 'off',
    enable_material: 'off',
    // Disabling a scan is done by cost, and compilation is triggered by cost.
    jit: 'off',
    // A vanished client is noticed by the server in about ten seconds, and its locks and leases with it.
    tcp_keepalives_idle: '5',
    tcp_keepalives_interval: '2',
    tcp_keepalives_count: '3',
    // Keep-alives rest while something sent is not acknowledged.
    tcp_user_timeout: '10000',
  }
}

const genericPlans = 'force_generic_plan'

/** The same settings in the form of a start-up packet's `options`. */
export function startupOptions(settings: Readonly<Record<string, string>>): string {
  return Object.entries(settings)
    .map(([name, value]) => `-c ${name}=${value.replaceAll(/[\\\s]/g, '\\$&')}`)
    .join(' ')
}

/** What a fresh session tells about its server. */
export interface ServerState {
  /** server_version_num, such as 180004 */
  readonly serverVersion: number
  /** PostgreSQL compiled to WebAssembly, which has one session for all its clients. */
  readonly isPglite: boolean
  readonly standby: boolean
  /** Transactions are, by a setting of the role's, the database's or the server's (default_transaction_read_only). */
  readonly readOnly: boolean
  readonly schemaExists: boolean
  /** Whether the schema has our migration table. */
  readonly migrated: boolean
  /** Whether it has something else under that name. */
  readonly occupied: boolean
  /** Tables of ours of which row level security shows this role no row. */
  readonly hidden: readonly string[]
}

/** A `pg` session of ours with one host, open and idle. One query at a time. */
export interface Session {
  readonly client: SessionClient
  /** The same fields for another session with the same server, such as the listener's. */
  readonly config: SessionFields
  readonly state: ServerState
  readonly host: Host
  /**
   * Whether the settings that were asked for are in effect. false: something in between takes none, or swallows them,
   * as poolers do. true where none were asked for.
   */
  readonly hasSettings: boolean
  /** Close it in order, or by force when the server does not answer. */
  end(): Promise<void>
  /** Close it at once, also when the other side is silent. */
  destroy(): void
  /** From now on it does not keep the process alive. */
  unref(): void
}

interface SessionRequest {
  readonly connection: Connection
  /** The statement that yields a ServerState. */
  readonly stateStatement: string
  /** application_name */
  readonly name: string
  /** For the start of the session; where they are refused there, it begins without them (`hasSettings`). */
  readonly settings?: Readonly<Record<string, string>>
  /**
   * The statement `session_settings`, with which settings are made that the start could not have. To be given where the
   * session is known to be ours until it ends.
   */
  readonly settingsStatement?: string
  /** Ends the opening at once, and leaves nothing open; a session that is open already is not touched. */
  readonly signal?: AbortSignal
}

/**
 * Open a session with the first host that will have us as a writer.
 *
 * `pg` knows one host, no `sslmode=prefer` and no `target_session_attrs`: they are resolved here.
 *
 * @throws the last host's error, as Node or PostgreSQL gave it; the signal's reason
 */
export async function openSession(request: SessionRequest): Promise<Session> {
  const { connection } = request
  const tries = connection.hosts.flatMap((host) =>
    connection.ssl === 'prefer'
      ? [
          { host, ssl: { rejectUnauthorized: false } },
          { host, ssl: false as const },
        ]
      : [{ host, ssl: connection.ssl }],
  )
  let failed: unknown
  for (const { host, ssl } of tries) {
    request.signal?.throwIfAborted()
    try {
      return await openHost(request, host, pgConfig(connection, host, ssl))
    } catch (error) {
      log('%s: %s:%d: %s', request.name, host.host, host.port, toError(error).message)
      failed = error
    }
  }
  throw failed
}

/**
 * Poolers take a few settings at the start of a session, and refuse it for others, or drop them. What is refused with
 * settings and taken without them was refused for them.
 */
async function openHost(request: SessionRequest, host: Host, fields: SessionFields): Promise<Session> {
  const { settings } = request
  if (settings === undefined) return openOnce(request, host, fields)
  try {
    return await openOnce(request, host, { ...fields, options: startupOptions(settings) })
  } catch (error) {
    if (!isRefusalOfSettings(error)) throw error
    log('%s: without settings: %s', request.name, toError(error).message)
    return openOnce(request, host, fields)
  }
}

async function openOnce(request: SessionRequest, host: Host, fields: SessionFields): Promise<Session> {
  const { connection, name, settings, settingsStatement, stateStatement, signal } = request
  const config: SessionFields = { ...fields, application_name: name }
  const socket = new Socket()
  const client = new pg.Client({ ...config, stream: () => socket })
  const destroy = (): void => void socket.destroy()
  // Attached before connecting and for good: pg may report an error of a session that nobody uses any more.
  client.on('error', (error) => log('%s: %s', name, error.message))
  // With an error: pg then rejects what it is asked for, which a mere end before the first answer would leave open.
  const abort = (): void => void socket.destroy(toError(signal?.reason))
  signal?.addEventListener('abort', abort, { once: true })
  try {
    await deadline(client.connect(), connection.connectTimeoutMs, 'connecting')
    const answer = await deadline(client.query(stateStatement), connection.connectTimeoutMs, 'the first answer')
    const state = readState(answer.rows[0])
    if (connection.targetSessionAttrs !== 'any') {
      if (state.standby) throw new StandbyError()
      if (state.readOnly) throw new ReadOnlyError()
    }
    let hasSettings = settings?.plan_cache_mode === undefined || answer.rows[0]?.plan_cache_mode === genericPlans
    if (!hasSettings && settingsStatement !== undefined) {
      const made = client.query(settingsStatement, [JSON.stringify(settings)])
      await deadline(made, connection.connectTimeoutMs, 'the settings')
      hasSettings = true
    }
    signal?.throwIfAborted()
    return {
      client,
      config,
      state,
      host,
      hasSettings,
      destroy,
      end: () => endSession(client, destroy),
      unref: () => unref(client),
    }
  } catch (error) {
    destroy()
    throw error
  } finally {
    signal?.removeEventListener('abort', abort)
  }
}

/**
 * Whether a session was refused for the settings of its start: pgbouncer says `unsupported startup parameter` as a
 * protocol violation, others that they do not support the feature of command-line options.
 */
function isRefusalOfSettings(error: unknown): boolean {
  const state = sqlState(error)
  return (state === '08P01' || state === '0A000') && /parameter|option/i.test(toError(error).message)
}

/**
 * A session's rows, with their columns named as the pool's instances name them. For names without an underscore at
 * their ends.
 */
export function namedAsByPool<Row extends object>(rows: readonly Readonly<Record<string, unknown>>[]): Row[] {
  return rows.map(
    (row) => Object.fromEntries(Object.entries(row).map(([name, value]) => [postgres.toCamel(name), value])) as Row,
  )
}

/** A row of the statement `state`. */
export function readState(row: Record<string, unknown> = {}): ServerState {
  return {
    serverVersion: Number(row.server_version),
    isPglite: row.is_pglite === true,
    standby: row.standby === true,
    readOnly: row.read_only === true,
    schemaExists: row.schema_exists === true,
    migrated: row.migrated === true,
    occupied: row.occupied === true,
    hidden: typeof row.hidden === 'string' && row.hidden !== '' ? row.hidden.split(', ') : [],
  }
}

/** Its types do not know it. */
function unref(client: pg.Client & { unref?: () => void }): void {
  client.unref?.()
}

async function endSession(client: pg.Client, destroy: () => void): Promise<void> {
  try {
    await deadline(client.end(), 1_000, 'ending a session')
  } catch (error) {
    log('ended by force: %s', toError(error).message)
  } finally {
    destroy()
  }
}

/** A server that is in recovery cannot take our jobs; it may become the primary later. */
class StandbyError extends Error {
  override name = 'StandbyError'
  // "the database system is ... not accepting" connections like ours: the class that is tried again.
  readonly code = '57P03'
  constructor() {
    super('the server is a standby, and cannot be written to')
  }
}

/** Transactions are read only here, by a setting that somebody has made: it is theirs to take back. */
export class ReadOnlyError extends Error {
  override name = 'ReadOnlyError'
  // As of a standby: somebody may let us write later.
  readonly code = '57P03'
  constructor() {
    super(
      'transactions of this role are read only here (default_transaction_read_only is on): ' +
        '`bugle doctor` says how to take that back',
    )
  }
}
