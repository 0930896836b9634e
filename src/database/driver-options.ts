/**
 * The connection as fields for both drivers.
 *
 * postgres.js and pg read the same URL differently (sslmode, sockets, several hosts, the `@` in a password), and both
 * look at the PG* variables for whatever is left out. So neither ever sees a URL, and every field is given; for those
 * that have no word for "none" see `openPostgres` and `openPgClient`.
 */
import { isIP } from 'node:net'
import { type ConnectionOptions, checkServerIdentity, type PeerCertificate } from 'node:tls'
import pg from 'pg'
import postgres from 'postgres'
import { kindOf } from '../checks.js'
import { deadline } from '../deadline.js'
import { toError } from '../errors.js'
import { type Connection, connectionDefaults, type Host, isSocket } from './connection.js'
import type { SessionFields } from './driver.js'
import { saslPrepared } from './saslprep.js'

// --- For postgres.js ---

/**
 * The connection's part of the options of `postgres({ … })`. Its declarations know one host and no sslnegotiation,
 * so spread this as an `object`.
 */
interface PostgresOptions {
  host: string[]
  port: number[]
  path?: string
  database: string
  user: string
  password: string | (() => Promise<string>)
  ssl: false | 'prefer' | ConnectionOptions
  sslnegotiation: null
  /** Seconds. */
  connect_timeout: number
  /** Session parameters at start-up. To add some, spread these: without application_name PGAPPNAME is used. */
  connection: { application_name: string }
}

/**
 * The fields for postgres.js. Nothing in the environment changes where and as whom they connect.
 *
 * @param onPasswordError - told what the password function threw; the log-in then fails with 28P01
 */
export function postgresOptions(
  connection: Connection,
  onPasswordError: (error: unknown) => void = () => {},
): PostgresOptions {
  const { hosts, database, user, password, ssl } = connection
  const [first] = hosts
  const options: PostgresOptions = {
    host: hosts.map(({ host }) => host),
    port: hosts.map(({ port }) => port),
    database,
    user,
    // An empty one would be taken from PGPASSWORD, a function never is.
    password:
      typeof password === 'string'
        ? saslPrepared(password) || noPassword
        : safePassword(passwordFor(connection, first), onPasswordError),
    ssl: typeof ssl === 'object' ? withCheckedAddresses(ssl, hosts) : ssl,
    sslnegotiation: null, // Present, or PGSSLNEGOTIATION=direct would send TLS to a server that waits for a packet.
    connect_timeout: connection.connectTimeoutMs / 1000,
    connection: { application_name: connection.applicationName ?? connectionDefaults.applicationName },
  }
  // Given as an array, a socket directory is taken for a host name.
  if (first !== undefined && isSocket(first)) options.path = `${first.host}/.s.PGSQL.${first.port}`
  return options
}

/**
 * A postgres.js instance that asks its server for nothing but what these options say.
 *
 * Where `target_session_attrs` is empty it reads PGTARGETSESSIONATTRS, throws if it does not know what is there, and
 * asks each server of before PostgreSQL 14 for its state, in a way that does not survive a lost connection. It has no
 * word for "ask for nothing". But options that it has read once it takes as they are. So it reads these with a word
 * that it knows, and is made anew of what it has read, without that word.
 */
export function openPostgres(options: postgres.Options<Record<string, postgres.PostgresType>>): postgres.Sql {
  const { options: read } = postgres({ ...options, target_session_attrs: 'primary' })
  const untyped: object = { ...read, target_session_attrs: null }
  return postgres({ ...untyped })
}

/** postgres.js awaits the password where nobody catches: a rejection there would end the process. */
function safePassword(ask: () => Promise<string>, onError: (error: unknown) => void): () => Promise<string> {
  return async () => {
    try {
      return saslPrepared(await ask())
    } catch (error) {
      onError(error)
      return ''
    }
  }
}

/**
 * When the host is an address, postgres.js hands no name to TLS, and Node then compares the certificate with
 * "localhost": the right certificate fails, and one for localhost passes. So such a host's certificate must name one of
 * our addresses.
 */
function withCheckedAddresses(ssl: ConnectionOptions, hosts: readonly Host[]): ConnectionOptions {
  const names = hosts.map(({ host }) => host)
  const own = ssl.checkServerIdentity ?? ssl.servername ?? ssl.host
  if (own !== undefined || !names.some((name) => isIP(name) !== 0)) return { ...ssl }
  return {
    ...ssl,
    checkServerIdentity: (asked: string, certificate: PeerCertificate) => {
      const possible = names.filter((name) => name === asked || (asked === 'localhost' && isIP(name) !== 0))
      const faults = possible.map((name) => checkServerIdentity(name, certificate))
      return faults.includes(undefined) ? undefined : (faults[0] ?? checkServerIdentity(asked, certificate))
    },
  }
}

// --- For pg ---

/**
 * The fields for one host of the connection, for `new pg.Client`. Nothing in the environment changes them.
 *
 * @param ssl - pg knows no 'prefer': for that try `{ rejectUnauthorized: false }`, and false when the server says no
 */
export function pgConfig(connection: Connection, host: Host, ssl: false | ConnectionOptions): SessionFields {
  return {
    host: host.host,
    port: host.port,
    database: connection.database,
    user: connection.user,
    // When none is given, pg would look into PGPASSWORD and ~/.pgpass; a function is asked only if the server wants
    // one.
    password: typeof connection.password === 'string' ? connection.password : passwordFor(connection, host),
    ssl: ssl === false ? false : withOwnName(ssl),
    sslnegotiation: 'postgres',
    application_name: connection.applicationName ?? connectionDefaults.applicationName,
    client_encoding: 'utf8',
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    connectionTimeoutMillis: connection.connectTimeoutMs,
  }
}

/**
 * A client of pg's that sends nothing at the start of its session but what these fields say.
 *
 * What is empty in them it reads from PGOPTIONS and PGREPLICATION. A word in their place would be sent, and some
 * poolers refuse whatever is there. So what it has read is taken away again.
 */
export function openPgClient(fields: SessionFields & Pick<pg.ClientConfig, 'stream'>): pg.Client {
  const client = new pg.Client(fields)
  // Its declarations do not know that.
  const { connectionParameters } = client as unknown as { connectionParameters: object }
  Object.assign(connectionParameters, { options: fields.options, replication: undefined })
  return client
}

/**
 * The same for pg-listen, which makes its client itself: words that ask a server for nothing, where there are
 * variables that pg would read.
 */
export function inPlaceOfVariables(): Pick<SessionFields, 'options' | 'replication'> {
  const { PGOPTIONS, PGREPLICATION } = process.env
  return { ...(PGOPTIONS && { options: ' ' }), ...(PGREPLICATION && { replication: 'false' }) }
}

/** A copy, as pg redefines `key` on what it gets; and pg overwrites a servername of the user's by the host's name. */
function withOwnName(ssl: ConnectionOptions): ConnectionOptions {
  const { servername } = ssl
  if (servername === undefined || ssl.checkServerIdentity !== undefined) return { ...ssl }
  return { ...ssl, checkServerIdentity: (_host, certificate) => checkServerIdentity(servername, certificate) }
}

async function noPassword(): Promise<string> {
  return ''
}

// --- For both ---

/** The connection's password function, whose failures tell what they are. */
function passwordFor({ password, connectTimeoutMs }: Connection, host: Host | undefined): () => Promise<string> {
  if (typeof password !== 'function') return noPassword
  const where = host === undefined ? '' : ` for ${host.host}:${host.port}`
  return async () => {
    let given: unknown
    try {
      // Sooner than the whole log-in, of which it is a part: so it is said what took so long.
      given = await deadline(Promise.resolve().then(password), connectTimeoutMs * passwordShare, 'the function')
    } catch (error) {
      throw new PasswordError(`connection.password${where} failed: ${toError(error).message}`, { cause: error })
    }
    if (typeof given === 'string') return given
    throw new PasswordError(`connection.password${where} must resolve to a string; got ${kindOf(given)}`)
  }
}

const passwordShare = 0.8

/** There is no password to log in with: nothing was sent but the wish to. */
export class PasswordError extends Error {
  override name = 'PasswordError'
  readonly code = 'NO_PASSWORD'
}
