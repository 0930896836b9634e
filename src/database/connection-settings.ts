/**
 * What was given of a connection, as text under the name it was given by: from fields and from PG* variables here, from
 * a URL in `connection-url.ts`. What the settings mean together is for `connection.ts`.
 */
import type { ConnectionOptions } from 'node:tls'
import { isPlainObject, isStorable, kindOf, knownKeys, oneOf, wholeNumber } from '../checks.js'
import { BugleError, describe } from '../errors.js'

export const sslModes = ['disable', 'prefer', 'require', 'verify-ca', 'verify-full'] as const
type SslMode = (typeof sslModes)[number]

export const portBounds = { min: 1, max: 65_535 }

/** A connection as fields. What is left out comes from the PG* variables, then from libpq's defaults. */
export interface ConnectionFields {
  /** A host name, an address, a socket directory (`/var/run/postgresql`), or several hosts with commas between. */
  host?: string | undefined
  /** @defaultValue 5432 */
  port?: number | undefined
  /** @defaultValue the user's name */
  database?: string | undefined
  /** @defaultValue the operating system's user name */
  user?: string | undefined
  /** Or a function that is asked at each log-in, for tokens that expire. */
  password?: string | (() => Promise<string>) | undefined
  /**
   * libpq's modes; true is `verify-full`, false is `disable`; or options for Node's `tls.connect`, taken as they are.
   * @defaultValue 'prefer'
   */
  ssl?: boolean | SslMode | ConnectionOptions | undefined
}

/** A value as text, with the name under which it was given. */
export interface Setting {
  readonly name: string
  readonly value: string
  /** Part of a URL's authority: may be a piece of a password that was not percent-encoded, so it is not shown. */
  readonly hidden?: true
}

/** libpq's names of what Bugle reads. */
export const parameters = [
  'host',
  'port',
  'dbname',
  'user',
  'password',
  'sslmode',
  'sslrootcert',
  'sslcert',
  'sslkey',
  'application_name',
  'connect_timeout',
  'target_session_attrs',
] as const
export type ConnectionParameter = (typeof parameters)[number]
export type Settings = { readonly [name in ConnectionParameter]?: Setting }

/** What only fields can say: `askPassword` goes before `password`, `tls` before the ssl settings. */
export interface GivenSettings extends Settings {
  readonly askPassword?: () => Promise<string>
  readonly tls?: ConnectionOptions
  /** What is asked for and not had, each a sentence; absent: nothing. */
  readonly warnings?: readonly string[]
}

const variables: { readonly [name in ConnectionParameter]: string } = {
  host: 'PGHOST',
  port: 'PGPORT',
  dbname: 'PGDATABASE',
  user: 'PGUSER',
  password: 'PGPASSWORD',
  sslmode: 'PGSSLMODE',
  sslrootcert: 'PGSSLROOTCERT',
  sslcert: 'PGSSLCERT',
  sslkey: 'PGSSLKEY',
  application_name: 'PGAPPNAME',
  connect_timeout: 'PGCONNECT_TIMEOUT',
  target_session_attrs: 'PGTARGETSESSIONATTRS',
}

/** From the PG* variables; an empty one is not given. */
export function settingsFromEnvironment(env: NodeJS.ProcessEnv): Settings {
  const found: { [name in ConnectionParameter]?: Setting } = {}
  for (const parameter of parameters) {
    const name = variables[parameter]
    const value = env[name]
    if (value) found[parameter] = { name, value }
  }
  return found
}

/**
 * @throws BugleError `INVALID_OPTION`, of the form alone: whether a host or a mode makes sense is seen to later
 */
export function settingsFromFields(fields: ConnectionFields): GivenSettings {
  // A URL given in the wrong place holds a password, so its value is not shown.
  if (!isPlainObject(fields)) throw refusal('connection', `must be a plain object of fields; got ${kindOf(fields)}`)
  knownKeys('connection', fields, ['host', 'port', 'database', 'user', 'password', 'ssl'], {
    createBugle: ['connectionString'],
  })
  const { host, port, database, user, password, ssl }: ConnectionFields = fields
  const found: { -readonly [name in keyof GivenSettings]: GivenSettings[name] } = {}
  if (host !== undefined) found.host = textField('connection.host', host)
  if (port !== undefined) {
    const value = String(wholeNumber('connection.port', port, portBounds))
    found.port = { name: 'connection.port', value }
  }
  if (database !== undefined) found.dbname = textField('connection.database', database)
  if (user !== undefined) found.user = textField('connection.user', user)
  if (typeof password === 'function') found.askPassword = password
  else if (password !== undefined) {
    if (typeof password !== 'string' || !isStorable(password)) {
      throw refusal('connection.password', 'must be a string without NUL, or a function that resolves to one')
    }
    if (password !== '') found.password = { name: 'connection.password', value: password }
  }
  if (typeof ssl === 'object' && ssl !== null) found.tls = Object.freeze({ ...ssl })
  else if (ssl !== undefined) {
    const mode = oneOf('connection.ssl', ssl, [true, false, ...sslModes])
    const value = mode === true ? 'verify-full' : mode === false ? 'disable' : mode
    found.sslmode = { name: 'connection.ssl', value }
  }
  return found
}

function textField(name: string, value: unknown): Setting {
  if (typeof value === 'string' && value !== '' && isStorable(value)) return { name, value }
  throw refusal(name, `must be a string that is not empty and has no NUL; got ${describe(value)}`)
}

/** Names what was given and the rule that it breaks. Whether the value may be shown is for the caller to know. */
export function refusal(name: string, rule: string, cause?: unknown): BugleError {
  return new BugleError('INVALID_OPTION', `${name} ${rule}`, cause === undefined ? {} : { cause })
}
