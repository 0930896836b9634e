/**
 * One description of the connection, parsed once and handed to both drivers as fields.
 *
 * postgres.js and pg read the same URL differently (sslmode, sockets, several hosts, the `@` in a password), and both
 * look at the PG* variables for whatever is left out. So neither ever sees a URL, and every field is given.
 */
import { readFileSync } from 'node:fs'
import { isIP, isIPv6 } from 'node:net'
import { userInfo } from 'node:os'
import { type ConnectionOptions, checkServerIdentity, type PeerCertificate } from 'node:tls'
import { kindOf, oneOf, wholeNumber } from '../checks.js'
import { deadline } from '../deadline.js'
import { describe, toError } from '../errors.js'
import {
  type ConnectionFields,
  type GivenSettings,
  portBounds,
  refusal,
  type Setting,
  type Settings,
  settingsFromEnvironment,
  settingsFromFields,
  sslModes,
} from './connection-settings.js'
import { settingsFromUrl } from './connection-url.js'
import type { SessionFields } from './driver.js'
import { saslPrepared } from './saslprep.js'

export type { ConnectionFields }

export interface Host {
  /** A name, an address without brackets, or a socket directory, which starts with `/`. */
  readonly host: string
  readonly port: number
}

/** One of a connection's hosts, and how it is spoken to. */
export interface Route {
  readonly host: Host
  readonly ssl: false | ConnectionOptions
}

/**
 * What is known of the connection; frozen, every field present. Holds the password: for messages see
 * `describeConnection`.
 */
export interface Connection {
  /** At least one, in the order of trial. A socket directory is always alone. */
  readonly hosts: readonly Host[]
  readonly database: string
  readonly user: string
  readonly password: string | (() => Promise<string>) | undefined
  /**
   * false: plain text. 'prefer': TLS if the server has it, unverified. Options: TLS or nothing, checked as they say;
   * what comes from files is read anew at each reading of `ca`, `cert` and `key`. Always false for a socket, as with
   * libpq.
   */
  readonly ssl: false | 'prefer' | ConnectionOptions
  /**
   * As libpq has it: 'any' (the default for one host), 'read-write' (the default for several), 'primary'. Each of them
   * is held to by what holds for every server of ours: it is no standby (see Primary).
   */
  readonly targetSessionAttrs: TargetSessionAttrs
  /** For one attempt at one host. */
  readonly connectTimeoutMs: number
  readonly applicationName: string | undefined
}

const targets = ['any', 'read-write', 'primary'] as const
type TargetSessionAttrs = (typeof targets)[number]

const connectionDefaults = {
  host: 'localhost',
  port: 5432,
  sslMode: 'prefer',
  connectTimeoutMs: 5000,
  applicationName: 'bugle',
} as const

/**
 * The connection that the options and the environment describe.
 *
 * `connectionString`, else `connection`, else the URL in `DATABASE_URL`; what that leaves out comes from PGHOST,
 * PGPORT, PGDATABASE, PGUSER, PGPASSWORD, PGSSLMODE, PGSSLROOTCERT, PGSSLCERT, PGSSLKEY, PGAPPNAME, PGCONNECT_TIMEOUT
 * and PGTARGETSESSIONATTRS, then from libpq's defaults, but for the host (localhost, not a socket). `.pgpass`, service
 * files and `~/.postgresql` are not read. Where verifying asks for a root certificate and none is given, Node's own
 * are used. Certificate files must be there, and are read again at each connect.
 *
 * @param urlName - what messages call the URL, where it is another option's
 * @throws BugleError `INVALID_OPTION`; never shows a password, nor what may be a part of one
 * @see https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
 */
export function resolveConnection(
  input: { connectionString?: string; connection?: ConnectionFields },
  env: NodeJS.ProcessEnv,
  urlName = 'connectionString',
): Connection {
  const given = givenSettings(input, env, urlName)
  const settings: Settings = { ...settingsFromEnvironment(env), ...given }
  const hosts = resolveHosts(settings.host, settings.port)
  const user = settings.user?.value ?? systemUser(env)
  const ssl = resolveSsl(settings, given)
  const connection: Connection = Object.freeze({
    hosts,
    database: settings.dbname?.value ?? user,
    user,
    password: given.askPassword ?? settings.password?.value,
    ssl: isSocket(hosts[0]) ? false : ssl,
    targetSessionAttrs: resolveTarget(settings.target_session_attrs, hosts.length),
    connectTimeoutMs: resolveTimeout(settings.connect_timeout),
    applicationName: settings.application_name?.value,
  })
  if (settings.host === undefined && Object.keys(given).length === 0) unnamed.add(connection)
  if (given.warnings !== undefined) unheeded.set(connection, given.warnings)
  return connection
}

const unheeded = new WeakMap<Connection, readonly string[]>()

/** What a URL asks for and does not get, though the connection may be had without it: sentences for its owner. */
export function warningsAbout(connection: Connection): readonly string[] {
  return unheeded.get(connection) ?? []
}

/** Those that nobody has named: the likeliest reason why there is no server. */
const unnamed = new WeakSet<Connection>()

/** For messages: `database "shop" at db1:5432,db2:5432 as user "app"`. Never the password. */
export function describeConnection(connection: Connection): string {
  const { hosts, database, user } = connection
  const places = hosts.map(({ host, port }) => `${isIPv6(host) ? `[${host}]` : host}:${port}`)
  const why = unnamed.has(connection) ? ' (by default: DATABASE_URL is not set)' : ''
  return `database ${describe(database)} at ${places.join(',')} as user ${describe(user)}${why}`
}

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
  target_session_attrs?: 'read-write' | 'primary'
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
  const { hosts, database, user, password, ssl, targetSessionAttrs } = connection
  const [first] = hosts
  const options: PostgresOptions = {
    host: hosts.map(({ host }) => host),
    port: hosts.map(({ port }) => port),
    database,
    user,
    // An empty one would be taken from PGPASSWORD, a function never is.
    password:
      typeof password === 'string'
        ? saslPrepared(password)
        : safePassword(passwordFor(connection, first), onPasswordError),
    ssl: typeof ssl === 'object' ? withCheckedAddresses(ssl, hosts) : ssl,
    sslnegotiation: null, // Present, or PGSSLNEGOTIATION=direct would send TLS to a server that waits for a packet.
    connect_timeout: connection.connectTimeoutMs / 1000,
    connection: { application_name: connection.applicationName ?? connectionDefaults.applicationName },
  }
  // Given as an array, a socket directory is taken for a host name.
  if (first !== undefined && isSocket(first)) options.path = `${first.host}/.s.PGSQL.${first.port}`
  // It knows no 'any' and reads the variable for whatever is false. Then 'primary' is the least that can be asked.
  if (targetSessionAttrs !== 'any') options.target_session_attrs = targetSessionAttrs
  else if (process.env.PGTARGETSESSIONATTRS) options.target_session_attrs = 'primary'
  return options
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
    // PGOPTIONS can only be kept out by something that is not empty. Not sent without need: some poolers refuse it.
    ...(process.env.PGOPTIONS ? { options: ' ' } : {}),
  }
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

// --- What the settings mean ---

/** The one place that describes the connection; the environment fills in what it leaves out. */
function givenSettings(
  input: { connectionString?: string; connection?: ConnectionFields },
  env: NodeJS.ProcessEnv,
  urlName: string,
): GivenSettings {
  const { connectionString, connection } = input
  if (connectionString !== undefined && connection !== undefined) {
    throw refusal(`${urlName} and connection`, 'must not both be given; leave one of them out')
  }
  if (connectionString !== undefined) return settingsFromUrl(connectionString, urlName)
  if (connection !== undefined) return settingsFromFields(connection)
  return env.DATABASE_URL ? settingsFromUrl(env.DATABASE_URL, 'DATABASE_URL') : {}
}

function resolveHosts(host: Setting | undefined, port: Setting | undefined): readonly Host[] {
  const names = host?.value.split(',') ?? [connectionDefaults.host]
  const ports = port?.value.split(',') ?? ['']
  if (ports.length !== 1 && ports.length !== names.length) {
    throw refusal(port?.name ?? 'port', `must be one, or one for each host; got ${ports.length} for ${names.length}`)
  }
  if (names.length > 1 && names.some((name) => name.startsWith('/'))) {
    throw refusal(host?.name ?? 'host', 'must be one socket directory, or host names only')
  }
  const hosts = names.map((name, index) =>
    Object.freeze({
      host: resolveHost(name, host),
      port: resolvePort((ports.length === 1 ? ports[0] : ports[index]) ?? '', port),
    }),
  )
  return Object.freeze(hosts)
}

function resolveHost(text: string, from: Setting | undefined): string {
  if (text.startsWith('/')) return text.length > 1 ? text.replace(/\/+$/, '') : text
  const name = text.replace(/^\[(.*)\]$/, '$1')
  if (isIPv6(name) || /^[^\s:/\\@?#%"'[\]\p{Cc}]+$/u.test(name)) return name
  const rule = 'must be a host name, an address or a socket directory that starts with /'
  throw refusal(from?.name ?? 'host', `${rule}; got ${shown(text, from)}`)
}

function resolvePort(text: string, from: Setting | undefined): number {
  if (text === '') return connectionDefaults.port
  const port = Number(text)
  if (/^\d+$/.test(text) && port >= portBounds.min && port <= portBounds.max) return port
  throw refusal(from?.name ?? 'port', `must be a whole number from 1 to 65535; got ${shown(text, from)}`)
}

function shown(text: string, from: Setting | undefined): string {
  return from?.hidden === true ? 'a value that is not shown, as it may be part of a password' : describe(text)
}

function isSocket(host: Host | undefined): boolean {
  return host?.host.startsWith('/') === true
}

function systemUser(env: NodeJS.ProcessEnv): string {
  let name: string | undefined
  try {
    name = userInfo().username
  } catch {
    name = env.USER || env.LOGNAME || env.USERNAME // An id without an entry in passwd, as containers have.
  }
  if (name) return name
  throw refusal('user', 'must be given, as the operating system has no name for this one')
}

function resolveSsl(settings: Settings, given: GivenSettings): Connection['ssl'] {
  if (given.tls !== undefined) return given.tls
  const { sslmode, sslrootcert, sslcert, sslkey } = settings
  const system = sslrootcert?.value === 'system'
  const name = sslmode?.name ?? 'sslmode'
  const value = sslmode?.value ?? (system ? 'verify-full' : connectionDefaults.sslMode)
  // Other Node libraries' word for what libpq's require does.
  const mode = value === 'no-verify' ? value : oneOf(name, value, sslModes)
  if (mode === 'disable' || mode === 'prefer') {
    // Refused rather than ignored: a certificate that is named is expected to be checked.
    const unused = given.sslrootcert ?? given.sslcert ?? given.sslkey
    if (unused !== undefined) {
      throw refusal(unused.name, `must come with sslmode require, verify-ca or verify-full; got sslmode ${mode}`)
    }
    return mode === 'disable' ? false : 'prefer'
  }
  if (system && mode !== 'verify-full') throw refusal(name, `must be verify-full with sslrootcert=system; got ${mode}`)
  if ((sslcert === undefined) !== (sslkey === undefined)) {
    throw refusal('sslcert and sslkey', `must be given together; got only ${(sslcert ?? sslkey)?.name}`)
  }
  const ssl = verification(mode, sslrootcert !== undefined && !system)
  if (sslrootcert !== undefined && !system) readEachTime(ssl, 'ca', sslrootcert)
  if (sslcert !== undefined) readEachTime(ssl, 'cert', sslcert)
  if (sslkey !== undefined) readEachTime(ssl, 'key', sslkey)
  return Object.freeze(ssl)
}

function verification(
  mode: 'require' | 'no-verify' | 'verify-ca' | 'verify-full',
  hasRoot: boolean,
): ConnectionOptions {
  if (mode === 'verify-full') return { rejectUnauthorized: true }
  // libpq: "if a root CA file exists, require behaves the same as verify-ca".
  if (mode === 'verify-ca' || (mode === 'require' && hasRoot)) {
    return { rejectUnauthorized: true, checkServerIdentity: () => undefined }
  }
  return { rejectUnauthorized: false }
}

/**
 * A file's content as a property that reads it each time: certificates are exchanged under a running process. Both
 * drivers are given copies, made at each connect.
 */
function readEachTime(ssl: ConnectionOptions, property: 'ca' | 'cert' | 'key', { name, value }: Setting): void {
  try {
    readFileSync(value, 'utf8')
  } catch (cause) {
    throw refusal(name, `must be a file that can be read; got ${describe(value)}`, cause)
  }
  Object.defineProperty(ssl, property, { enumerable: true, get: () => readFileSync(value, 'utf8') })
}

function resolveTarget(setting: Setting | undefined, hostCount: number): TargetSessionAttrs {
  if (setting === undefined) return hostCount > 1 ? 'read-write' : 'any'
  const { name, value } = setting
  if (value === 'read-only' || value === 'standby' || value === 'prefer-standby') {
    throw refusal(name, `must be any, read-write or primary, as Bugle writes; got ${describe(value)}`)
  }
  return oneOf(name, value, targets)
}

function resolveTimeout(setting: Setting | undefined): number {
  if (setting === undefined) return connectionDefaults.connectTimeoutMs
  const { name, value } = setting
  // libpq's 0, wait for ever, is not had: a host that answers nothing must not hold up the next one.
  if (!/^\d+$/.test(value)) throw refusal(name, `must be whole seconds from 1 up; got ${describe(value)}`)
  return wholeNumber(name, Number(value), { min: 1, max: 2_000_000 }) * 1000
}
