/**
 * A connection URL as settings, and which of the parameters that other drivers know are read, left alone or refused.
 */
import { isStorable, kindOf } from '../checks.js'
import { describe } from '../errors.js'
import {
  type ConnectionParameter,
  type GivenSettings,
  parameters,
  refusal,
  type Setting,
} from './connection-settings.js'

// Read and left alone, because what they ask for is so anyway, or is set by an option of ours, or concerns others.
const ignoredParameters: ReadonlySet<string> = new Set([
  // How the drivers shake hands: the ordinary way, which every server understands.
  ...['sslnegotiation', 'sslsni', 'sslcompression', 'uselibpqcompat', 'max_protocol_version'],
  ...['gssencmode', 'gsslib', 'gssdelegation', 'krbsrvname', 'client_encoding', 'charset', 'encoding'],
  // Keep-alives and time limits: our sessions set their own.
  ...['keepalives', 'keepalives_idle', 'keepalives_interval', 'keepalives_count', 'tcp_user_timeout', 'keep_alive'],
  ...['statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'query_timeout', 'socket_timeout'],
  // The order of trial: as written.
  'load_balance_hosts',
  // Pools: `poolSize` and `prepare` decide. pgbouncer is Prisma's word for prepare: false.
  ...['pgbouncer', 'connection_limit', 'pool_timeout', 'pool', 'pool_size', 'pool_max_conns', 'max', 'prepare'],
  ...['idle_timeout', 'max_lifetime', 'max_idle_connection_lifetime', 'max_connection_lifetime'],
  ...['statement_cache_size', 'single_use_connections', 'binary_parameters', 'default_query_exec_mode', 'supa'],
  // Names of an ORM's own tables, and its notes: ours are in the schema that the option `schema` names.
  ...['schema', 'currentSchema', 'search_path', 'serverVersion', 'fallback_application_name'],
])

/** Left alone as well; but whoever asks for more than we do should know: a sentence for each. */
const unheededParameters: ReadonlyMap<string, { readonly asksNothing: RegExp; readonly instead: string }> = new Map([
  [
    'channel_binding',
    {
      asksNothing: /^(disable|prefer)$/,
      instead: 'log-ins are not bound to the TLS channel; sslmode=verify-full makes sure of the server',
    },
  ],
  ['min_protocol_version', { asksNothing: /^3\.0$/, instead: 'connections speak version 3.0 of the protocol' }],
  [
    'ssl_min_protocol_version',
    {
      asksNothing: /^TLSv1(\.[012])?$/,
      instead: "TLS is at least Node's own least version; give connection.ssl as tls options with minVersion",
    },
  ],
  ['ssl_max_protocol_version', { asksNothing: /^TLSv1\.3$/, instead: 'give connection.ssl as tls options' }],
])

// What people may want, and must know that they do not get.
const refusedParameters: ReadonlyMap<string, string> = new Map([
  ['options', 'set it for the role or database instead (alter role … set …)'],
  ['hostaddr', 'give the address as host'],
  ['service', 'service files are not read; give the fields themselves'],
  ['passfile', 'password files are not read; give a password, or a function as connection.password'],
  ['sslpassword', 'decrypt the key, or give connection.ssl as tls options with passphrase'],
  ['sslcrl', 'give connection.ssl as tls options with crl'],
])

/**
 * A URL's parts, by libpq's grammar, which allows several hosts; WHATWG's does not.
 *
 * `postgres://user:password@host1:5432,host2:5433/database?parameter=value`, each part percent-encoded and optional.
 * A parameter overrides the part that says the same. Unlike libpq the last `@` before the path ends the password, and
 * an `@` after that is refused: it is the trace of a password with a `/` or `?` in it, of which a piece would become
 * the host, and be shown. A line end at its end is none of it: it comes from a file, as mounted secrets are.
 */
export function settingsFromUrl(given: string, what: string): GivenSettings {
  if (typeof given !== 'string') throw refusal(what, `must be a URL as a string; got ${kindOf(given)}`)
  const url = given.replace(/[\r\n]+$/, '')
  const scheme = /^(?:postgres|postgresql):\/\//.exec(url)?.[0]
  if (scheme === undefined) throw refusal(what, notOurs(url))
  const [, authority = '', path = '', query] =
    /^([^/?]*)(?:\/([^?]*))?(?:\?(.*))?$/s.exec(url.slice(scheme.length)) ?? []
  if (`${path}?${query}`.includes('@')) {
    throw refusal(what, 'must have no @ after the host: percent-encode / ? # and @ in user, password and parameters')
  }
  const at = authority.lastIndexOf('@')
  const [user, password] = at === -1 ? [] : splitOnce(authority.slice(0, at), ':')
  const found: { [name in ConnectionParameter]?: Setting } = {}
  const set = (parameter: ConnectionParameter, part: string | undefined, name: string, hidden?: true) => {
    if (!part) return
    const value = decoded(part, name)
    found[parameter] = hidden === undefined ? { name, value } : { name, value, hidden }
  }
  set('user', user, `${what}: user`)
  set('password', password, `${what}: password`, true)
  const { hosts, ports } = splitHosts(authority.slice(at + 1), what)
  set('host', hosts.join(','), `${what}: host`, true)
  if (ports.some((port) => port !== '')) set('port', ports.join(','), `${what}: port`, true)
  set('dbname', path, `${what}: database`)
  const pairs = pairsOf(query, what)
  for (const [parameter, part] of parametersOf(pairs, what)) set(parameter, part, `${what}: ${parameter}`)
  const warnings = warningsAbout(pairs, what)
  return warnings.length > 0 ? { ...found, warnings } : found
}

function notOurs(url: string): string {
  const rule = 'must be a URL like postgres://user:password@host:5432/database'
  if (/^\s*\w+\s*=/.test(url)) return `${rule}; libpq's keyword form (host=… dbname=…) is not read`
  const scheme = /^[a-z][a-z0-9+.-]{0,30}(?=:\/\/)/i.exec(url)?.[0]
  return `${rule}; got ${scheme === undefined ? 'no scheme' : `the scheme ${scheme}`}`
}

/** The hosts and ports of an authority, at the same places; an empty port is not given. */
function splitHosts(text: string, what: string): { hosts: string[]; ports: string[] } {
  const hosts: string[] = []
  const ports: string[] = []
  for (const place of text.split(',')) {
    const [, host = '', port = ''] = /^(\[[^\]]*\]|[^:]*)(?::(.*))?$/s.exec(place) ?? []
    if (!/^\d*$/.test(port) || (place.startsWith('[') && !host.startsWith('['))) {
      throw refusal(what, 'must have hosts like name:5432 or [::1]:5432 (not shown, as it may hold a password)')
    }
    hosts.push(host)
    ports.push(port)
  }
  return { hosts, ports }
}

/** The parameters as they are given, each once. */
function pairsOf(query: string | undefined, what: string): ReadonlyMap<string, string> {
  const pairs = new Map<string, string>()
  for (const pair of query?.split('&') ?? []) {
    if (pair === '') continue
    const [left, right] = splitOnce(pair, '=')
    const name = decoded(left, `${what}: the name of a parameter`)
    if (right === undefined) throw refusal(`${what}: the parameter ${describe(name)}`, 'must have a value, after an =')
    if (pairs.has(name) && !ignoredParameters.has(name)) throw refusal(`${what}: ${name}`, 'must be given once')
    pairs.set(name, right)
  }
  return pairs
}

function parametersOf(pairs: ReadonlyMap<string, string>, what: string): ReadonlyMap<ConnectionParameter, string> {
  const found = new Map<ConnectionParameter, string>()
  for (const [name, value] of pairs) {
    const parameter = parameters.find((known) => known === name)
    if (parameter !== undefined) found.set(parameter, value)
    else if (!isLeftAlone(name, value)) {
      const hint = refusedParameters.get(name) ?? 'leave it out'
      throw refusal(what, `must have only parameters that Bugle knows; got ${describe(name)}: ${hint}`)
    }
  }
  const mode = sslModeOf(pairs, what)
  if (mode !== undefined) found.set('sslmode', mode)
  return found
}

function isLeftAlone(name: string, value: string): boolean {
  if (ignoredParameters.has(name) || unheededParameters.has(name)) return true
  if (name === 'ssl' || name === 'sslaccept') return true
  // For drivers that do not name the host as they begin TLS (SNI). Ours do, and the host's name says the same.
  return name === 'options' && /^(endpoint|project)(=|%3D)[\w.-]+$/i.test(value)
}

/**
 * `sslmode`; or in its place, or beside it, JDBC's `ssl`, which libpq translates as well, and Prisma's `sslaccept`, of
 * which `strict` asks for a certificate of that host. What contradicts itself is refused: one of the two would be
 * expected to hold, and not do so.
 */
function sslModeOf(pairs: ReadonlyMap<string, string>, what: string): string | undefined {
  const ssl = pairs.get('ssl')
  const accept = pairs.get('sslaccept')
  const own = pairs.get('sslmode')
  const fromSsl = ssl === undefined ? undefined : (modesOfSsl.get(ssl) ?? ssl)
  if (own !== undefined && fromSsl !== undefined && (own === 'disable') !== (fromSsl === 'disable')) {
    throw refusal(`${what}: ssl and sslmode`, `must not contradict each other; got ssl ${ssl} and sslmode ${own}`)
  }
  const mode = own ?? fromSsl
  if (accept === undefined || accept === 'accept_invalid_certs') return mode
  if (accept !== 'strict' || mode === 'disable') {
    const rule = 'must be accept_invalid_certs, or strict where TLS is not disabled'
    throw refusal(`${what}: sslaccept`, `${rule}; got ${describe(accept)}`)
  }
  return mode === undefined || mode === 'prefer' || mode === 'require' ? 'verify-full' : mode
}

const modesOfSsl: ReadonlyMap<string, string> = new Map([
  ['true', 'require'],
  ['1', 'require'],
  ['false', 'disable'],
  ['0', 'disable'],
])

function warningsAbout(pairs: ReadonlyMap<string, string>, what: string): string[] {
  return [...unheededParameters].flatMap(([name, { asksNothing, instead }]) => {
    const value = pairs.get(name)
    if (value === undefined || asksNothing.test(value)) return []
    return [`${what}: ${name} is left alone; ${instead}`]
  })
}

function splitOnce(text: string, separator: string): [string, string?] {
  const at = text.indexOf(separator)
  return at === -1 ? [text] : [text.slice(0, at), text.slice(at + separator.length)]
}

/** The value is not shown: it may be the password, or hold a piece of it. */
function decoded(part: string, name: string): string {
  let text: string
  try {
    text = decodeURIComponent(part)
  } catch {
    throw refusal(name, 'must be percent-encoded UTF-8; write a % itself as %25')
  }
  if (isStorable(text)) return text
  throw refusal(name, 'must not have NUL or lone surrogates')
}
