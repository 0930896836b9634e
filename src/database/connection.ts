/**
 * One description of the connection, parsed once: what options and environment mean together. The drivers get it as
 * fields (see driver-options.ts).
 */
import { readFileSync } from 'node:fs'
import { isIPv6 } from 'node:net'
import { userInfo } from 'node:os'
import type { ConnectionOptions } from 'node:tls'
import { oneOf, wholeNumber } from '../checks.js'
import { describe } from '../errors.js'
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
  /** For one attempt at one host. */
  readonly connectTimeoutMs: number
  readonly applicationName: string | undefined
}

/** What `target_session_attrs` may ask for. Each is held to, as every server of ours takes writes (see Primary). */
const targets = ['any', 'read-write', 'primary'] as const

export const connectionDefaults = {
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
  demandTarget(settings.target_session_attrs)
  const connection: Connection = Object.freeze({
    hosts,
    database: settings.dbname?.value ?? user,
    user,
    password: given.askPassword ?? settings.password?.value,
    ssl: isSocket(hosts[0]) ? false : ssl,
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

export function isSocket(host: Host | undefined): boolean {
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

function demandTarget(setting: Setting | undefined): void {
  if (setting === undefined) return
  const { name, value } = setting
  if (value === 'read-only' || value === 'standby' || value === 'prefer-standby') {
    throw refusal(name, `must be any, read-write or primary, as Bugle writes; got ${describe(value)}`)
  }
  oneOf(name, value, targets)
}

function resolveTimeout(setting: Setting | undefined): number {
  if (setting === undefined) return connectionDefaults.connectTimeoutMs
  const { name, value } = setting
  // libpq's 0, wait for ever, is not had: a host that answers nothing must not hold up the next one.
  if (!/^\d+$/.test(value)) throw refusal(name, `must be whole seconds from 1 up; got ${describe(value)}`)
  return wholeNumber(name, Number(value), { min: 1, max: 2_000_000 }) * 1000
}
