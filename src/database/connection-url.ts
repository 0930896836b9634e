/**
 * A connection URL as settings, and which of the parameters that other drivers know are read, left alone or refused.
 */
import { isStorable, kindOf } from '../checks.js'
import { describe } from '../errors.js'
import { type ConnectionParameter, parameters, refusal, type Setting, type Settings } from './connection-settings.js'

// Read and left alone, because what they ask for is so anyway, or is set by an option of ours, or concerns others.
const ignoredParameters: ReadonlySet<string> = new Set([
  // How the drivers shake hands: the ordinary way, which every server understands.
  ...['channel_binding', 'sslnegotiation', 'sslsni', 'sslcompression', 'uselibpqcompat'],
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
 * the host, and be shown.
 */
export function settingsFromUrl(url: string, what: string): Settings {
  if (typeof url !== 'string') throw refusal(what, `must be a URL as a string; got ${kindOf(url)}`)
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
  for (const [parameter, part] of parametersOf(query, what)) set(parameter, part, `${what}: ${parameter}`)
  return found
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

function parametersOf(query: string | undefined, what: string): Map<ConnectionParameter, string> {
  const found = new Map<ConnectionParameter, string>()
  for (const pair of query?.split('&') ?? []) {
    if (pair === '') continue
    const [left, right] = splitOnce(pair, '=')
    const name = decoded(left, `${what}: the name of a parameter`)
    if (right === undefined) throw refusal(`${what}: the parameter ${describe(name)}`, 'must have a value, after an =')
    if (ignoredParameters.has(name)) continue
    const parameter = name === 'ssl' ? 'sslmode' : parameters.find((known) => known === name)
    if (parameter === undefined) {
      const hint = refusedParameters.get(name) ?? 'leave it out'
      throw refusal(what, `must have only parameters that Bugle knows; got ${describe(name)}: ${hint}`)
    }
    if (found.has(parameter)) throw refusal(`${what}: ${parameter}`, 'must be given once')
    found.set(parameter, name === 'ssl' ? modeOfSsl(right) : right)
  }
  return found
}

/** JDBC's word, which libpq translates as well. */
function modeOfSsl(value: string): string {
  if (value === 'true') return 'require'
  return value === 'false' ? 'disable' : value
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
