import { Socket } from 'node:net'
import createDebug from 'debug'
import type pg from 'pg'
import postgres from 'postgres'
import { DeadlineError, deadline, whileAlive } from '../deadline.js'
import { toError } from '../errors.js'
import type { Connection, Host, Route } from './connection.js'
import type { SessionClient, SessionFields } from './driver.js'
import { openPgClient, PasswordError, pgConfig } from './driver-options.js'
import { demandWriter, type FoundServer, readIdentity } from './primary.js'
import { sideBySide } from './side-by-side.js'
import { isPermanentRefusal, sqlState } from './verdict.js'

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
export interface ServerState extends FoundServer {
  /** server_version_num, such as 180004 */
  readonly serverVersion: number
  /** PostgreSQL compiled to WebAssembly, which has one session for all its clients. */
  readonly isPglite: boolean
  readonly schemaExists: boolean
  /** Whether the schema has our migration table. */
  readonly migrated: boolean
  /** Whether it has something else under that name. */
  readonly occupied: boolean
  /** Tables of ours of which row level security shows this role no row. */
  readonly hidden: readonly string[]
}

/** A `pg` session of ours with one host, open and idle. One query at a time, unless `pipeline` was asked for. */
export interface Session {
  readonly client: SessionClient
  /** The same fields for another session with the same server, such as the listener's. */
  readonly config: SessionFields
  readonly state: ServerState
  /** How it was reached. */
  readonly route: Route
  /** What its first statement took. */
  readonly tripMs: number
  /**
   * Whether the settings that were asked for are in effect. false: something in between takes none, or swallows them,
   * as poolers do. true where none were asked for.
   */
  readonly hasSettings: boolean
  /**
   * For a further session with the same server, by `config`.
   *
   * @param leave - called when that server will do no more
   * @returns to be called when that session has ended
   * @throws why the server will not do any more
   */
  admitAnother(leave: (error: Error) => void): () => void
  /** What is asked within goes in one write. */
  inOneWrite(ask: () => void): void
  /** Close it in order, or by force when the server does not answer. */
  end(): Promise<void>
  /** Close it at once, also when the other side is silent. */
  destroy(): void
  /** From now on it does not keep the process alive. */
  unref(): void
}

/** What a session asks of its server first. */
export interface StateStatements {
  /** The statement that yields a ServerState. */
  readonly stateStatement: string
  /** The same with the server's identity, which some servers refuse to tell; default: it is not asked for. */
  readonly identifiedStatement?: string
}

export interface SessionRequest extends StateStatements {
  readonly connection: Connection
  /** application_name */
  readonly name: string
  /** For the start of the session; where they are refused there, it begins without them (`hasSettings`). */
  readonly settings?: Readonly<Record<string, string>>
  /**
   * The statement `session_settings`, with which settings are made that the start could not have. To be given where the
   * session is known to be ours until it ends.
   */
  readonly settingsStatement?: string
  /** With `sslmode=prefer`: plain text is tried first, as the server was found to refuse TLS. */
  readonly refusesTls?: boolean
  /** Whether statements are sent without waiting for the answers to those before; default: no. */
  readonly pipeline?: true
  /** For one attempt without a sign of life; default: the connection's. */
  readonly connectMs?: number
  /** The connection's hosts in the order of trial; default: as written. */
  readonly inOrder?: (hosts: readonly Host[]) => readonly Host[]
  /**
   * Whether this server will do: by default any that takes our writes.
   *
   * @param leave - called when it will do no more
   * @returns called when the session has ended
   * @throws why it will not
   */
  readonly admit?: (found: ServerState, host: Host, leave: (error: Error) => void) => () => void
  /** Ends the opening at once, and leaves nothing open; a session that is open already is not touched. */
  readonly signal?: AbortSignal
}

/** How long a host may be silent before the next one is tried as well. */
export const headStartMs = 250
/** A host that refuses us is tried again after that, while another one is silent. */
export const againMs = 500

/**
 * Open a session with a host that will have us as a writer: the first that answers, tried side by side.
 *
 * `pg` knows one host, no `sslmode=prefer` and no `target_session_attrs`: they are resolved here.
 *
 * @throws the last host's error, as Node or PostgreSQL gave it; the signal's reason
 */
export async function openSession(request: SessionRequest): Promise<Session> {
  const { connection, inOrder = (hosts) => hosts, name } = request
  const tries = inOrder(connection.hosts).map((host) => async (signal: AbortSignal) => {
    try {
      return await openHost(request, host, signal)
    } catch (error) {
      log('%s: %s:%d: %s', name, host.host, host.port, toError(error).message)
      throw error
    }
  })
  return sideBySide(tries, {
    headStartMs,
    againMs,
    signal: request.signal,
    discard: (late) => late.destroy(),
    // Where one host may be there later, that is what is to be waited for.
    isLasting: isPermanentRefusal,
  })
}

/** Of `prefer`: plain text is tried where TLS was refused. Not where nothing was heard: it would take as long again. */
async function openHost(request: SessionRequest, host: Host, signal: AbortSignal): Promise<Session> {
  const { ssl } = request.connection
  if (ssl !== 'prefer') return openRoute(request, { host, ssl }, signal)
  const byTls: Route = { host, ssl: { rejectUnauthorized: false } }
  const inPlain: Route = { host, ssl: false }
  const [first, second] = request.refusesTls ? [inPlain, byTls] : [byTls, inPlain]
  try {
    return await openRoute(request, first, signal)
  } catch (error) {
    if (signal.aborted || !refusesTls(error)) throw error
    return openRoute(request, second, signal)
  }
}

/** Whether the server, or the way to it, takes no TLS, or no log-in by it. Both drivers' words for it are known. */
export function refusesTls(error: unknown): boolean {
  const state = sqlState(error)
  if (state !== null) return state.startsWith('28')
  if (error instanceof DeadlineError || error instanceof PasswordError || !(error instanceof Error)) return false
  return /^(ERR_SSL|ERR_TLS|EPROTO)/.test(String(Reflect.get(error, 'code'))) || /\b(SSL|TLS)\b/.test(error.message)
}

/**
 * Poolers take a few settings at the start of a session, and refuse it for others, or drop them. What is refused with
 * settings and taken without them was refused for them.
 */
async function openRoute(request: SessionRequest, route: Route, signal: AbortSignal): Promise<Session> {
  const { connection, name, settings, pipeline } = request
  const fields: SessionFields = {
    ...pgConfig(connection, route.host, route.ssl),
    application_name: name,
    ...(pipeline && { pipeline }),
  }
  if (settings === undefined) return openOnce(request, route, fields, signal)
  try {
    return await openOnce(request, route, { ...fields, options: startupOptions(settings) }, signal)
  } catch (error) {
    if (signal.aborted || !isRefusalOfSettings(error)) throw error
    log('%s: without settings: %s', name, toError(error).message)
    return openOnce(request, route, fields, signal)
  }
}

async function openOnce(
  request: SessionRequest,
  route: Route,
  config: SessionFields,
  signal: AbortSignal,
): Promise<Session> {
  const { connection, name, settings, settingsStatement, admit = admitWriter } = request
  const { connectMs = connection.connectTimeoutMs } = request
  const { host } = route
  const where = `${host.host}:${host.port}`
  const socket = new Socket()
  // Without pg's own limit, which has no code to tell it by: ours holds, and for all phases of the log-in.
  const client = openPgClient({ ...config, connectionTimeoutMillis: 0, stream: () => socket })
  const destroy = (): void => void socket.destroy()
  // Attached before connecting and for good: pg may report an error of a session that nobody uses any more.
  client.on('error', (error) => log('%s: %s', name, error.message))
  // With an error: pg then rejects what it is asked for, which a mere end before the first answer would leave open.
  const abort = (): void => void socket.destroy(toError(signal.reason))
  signal.addEventListener('abort', abort, { once: true })
  try {
    signal.throwIfAborted()
    await whileAlive(client.connect(), connectMs, `connecting to ${where}`, () => socket.bytesRead)
    const askedAt = performance.now()
    const first = await deadline(readFirst(client, request), connectMs, where)
    const tripMs = performance.now() - askedAt
    const state = readState(first)
    let hasSettings = settings?.plan_cache_mode === undefined || first.plan_cache_mode === genericPlans
    if (!hasSettings && settingsStatement !== undefined) {
      const made = client.query(settingsStatement, [JSON.stringify(settings)])
      await deadline(made, connectMs, `the settings at ${where}`)
      hasSettings = true
    }
    signal.throwIfAborted()
    const left = admit(state, host, (error) => socket.destroy(error))
    socket.once('close', left)
    return {
      client,
      config,
      state,
      route,
      tripMs,
      hasSettings,
      admitAnother: (leave) => admit(state, host, leave),
      inOneWrite: (ask) => inOneWrite(client, ask),
      destroy,
      end: () => endSession(client, destroy),
      unref: () => unref(client),
    }
  } catch (error) {
    destroy()
    throw error
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

/**
 * For those who only look: where there is one host, that is the one to look at, whatever it is. Of several they look at
 * one that takes writes.
 */
export function anyServer({ hosts }: Connection): Pick<SessionRequest, 'admit'> {
  return hosts.length === 1 ? { admit: () => () => {} } : {}
}

function admitWriter(found: ServerState): () => void {
  demandWriter(found, 'the server')
  return () => {}
}

/** A server that refuses to tell its identity is asked for the rest. */
async function readFirst(client: SessionClient, statements: StateStatements): Promise<Record<string, unknown>> {
  const { stateStatement, identifiedStatement } = statements
  const ask = async (statement: string): Promise<Record<string, unknown>> =>
    (await client.query<Record<string, unknown>>(statement)).rows[0] ?? {}
  if (identifiedStatement === undefined) return ask(stateStatement)
  try {
    return await ask(identifiedStatement)
  } catch (error) {
    if (!/^(0A|42)/.test(sqlState(error) ?? '')) throw error
    log('the server does not tell its identity: %s', toError(error).message)
    return ask(stateStatement)
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
    identity: readIdentity(row.identity),
    schemaExists: row.schema_exists === true,
    migrated: row.migrated === true,
    occupied: row.occupied === true,
    hidden: typeof row.hidden === 'string' && row.hidden !== '' ? row.hidden.split(', ') : [],
  }
}

/** The stream of a session with TLS is not the socket that we have made. pg's types do not know it. */
function inOneWrite(client: pg.Client, ask: () => void): void {
  const { stream } = (client as unknown as { connection: { stream: Socket } }).connection
  stream.cork()
  try {
    ask()
  } finally {
    stream.uncork()
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
