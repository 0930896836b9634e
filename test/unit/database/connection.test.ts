import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import {
  type Connection,
  type ConnectionFields,
  describeConnection,
  resolveConnection,
  warningsAbout,
} from '../../../src/database/connection.js'
import { BugleError } from '../../../src/errors.js'
import { createBugle } from '../../../src/index.js'

const files = mkdtempSync(join(tmpdir(), 'bugle-connection-'))
const [root, certificate, key] = ['root.pem', 'client.pem', 'client.key'].map((name) => {
  writeFileSync(join(files, name), `content of ${name}`)
  return join(files, name)
})
afterAll(() => rmSync(files, { recursive: true }))

const fromUrl = (connectionString: string, env: NodeJS.ProcessEnv = {}) => resolveConnection({ connectionString }, env)
const fromFields = (connection: unknown, env: NodeJS.ProcessEnv = {}) =>
  resolveConnection({ connection: connection as ConnectionFields }, env)

function refused(act: () => unknown): string {
  try {
    act()
  } catch (error) {
    if (!(error instanceof BugleError)) throw error
    expect(error.code).toBe('INVALID_OPTION')
    return error.message
  }
  throw new Error('it was accepted')
}

const osUser = userInfo().username
const defaults: Connection = {
  hosts: [{ host: 'localhost', port: 5432 }],
  database: osUser,
  user: osUser,
  password: undefined,
  ssl: 'prefer',
  connectTimeoutMs: 5000,
  applicationName: undefined,
}
const unverified = { rejectUnauthorized: false }
const verifyFull = { rejectUnauthorized: true }
const verifyCa = { rejectUnauthorized: true, checkServerIdentity: expect.any(Function) }
const at = (host: string, port = 5432) => ({ hosts: [{ host, port }] })
const jo = { user: 'jo', database: 'jo' }

describe('URLs', () => {
  test.each<[string, Partial<Connection>]>([
    ['postgres://', {}],
    ['postgresql:///', {}],
    ['postgres://db', at('db')],
    ['postgres://db:6432/', at('db', 6432)],
    ['postgres://:6432', at('localhost', 6432)],
    ['postgres://jo@db/shop', { ...at('db'), user: 'jo', database: 'shop' }],
    ['postgres://jo@db', { ...at('db'), ...jo }],
    ['postgres://jo:secret@db', { ...at('db'), ...jo, password: 'secret' }],
    ['postgres://jo:@db', { ...at('db'), ...jo }],
    ['postgres://jo:se%2Fc%3Fr%23e%40t%25@db', { ...at('db'), ...jo, password: 'se/c?r#e@t%' }],
    ['postgres://jo:se:c@r#et@db', { ...at('db'), ...jo, password: 'se:c@r#et' }],
    [
      'postgres://j%C3%B6%20x:p%E2%82%AC@db/my%20shop',
      { ...at('db'), user: 'jö x', password: 'p€', database: 'my shop' },
    ],
    ['postgres://db/shop+1?application_name=a+b', { ...at('db'), database: 'shop+1', applicationName: 'a+b' }],
    ['postgres://[::1]:5433/', at('::1', 5433)],
    ['postgres://[2001:db8::1]', at('2001:db8::1')],
    ['postgres://[fe80::1%25eth0]', at('fe80::1%eth0')],
    ['postgres://10.0.0.7', at('10.0.0.7')],
    ['postgres://my_host-1.example.org.', at('my_host-1.example.org.')],
    [
      'postgres://h1:5433,h2,[::1]:5435/',
      {
        hosts: [
          { host: 'h1', port: 5433 },
          { host: 'h2', port: 5432 },
          { host: '::1', port: 5435 },
        ],
      },
    ],
    ['postgres://h1,h2/?port=6000', { hosts: [...at('h1', 6000).hosts, ...at('h2', 6000).hosts] }],
    ['postgres://h1,h2/?target_session_attrs=any', { hosts: [...at('h1').hosts, ...at('h2').hosts] }],
    ['postgres://db?target_session_attrs=primary', at('db')],
    ['postgres://%2Fvar%2Frun%2Fpostgresql/shop', { ...at('/var/run/postgresql'), ssl: false, database: 'shop' }],
    ['postgres:///shop?host=/var/run&port=5433', { ...at('/var/run', 5433), ssl: false, database: 'shop' }],
    ['postgres://jo@localhost:5433/?host=/cloudsql/a:b:c', { ...at('/cloudsql/a:b:c', 5433), ...jo, ssl: false }],
    ['postgres://?host=/tmp&sslmode=require', { ...at('/tmp'), ssl: false }],
    ['postgres://?host=h1,h2&port=1,2', { hosts: [...at('h1', 1).hosts, ...at('h2', 2).hosts] }],
    ['postgres://a:b@c/d?user=jo&password=x%26y&dbname=e', { ...at('c'), user: 'jo', password: 'x&y', database: 'e' }],
    ['postgres://?sslmode=disable', { ssl: false }],
    ['postgres://?sslmode=prefer', { ssl: 'prefer' }],
    ['postgres://?sslmode=require', { ssl: unverified }],
    ['postgres://?ssl=true', { ssl: unverified }],
    ['postgres://?ssl=1', { ssl: unverified }],
    ['postgres://?ssl=false', { ssl: false }],
    ['postgres://?ssl=0', { ssl: false }],
    ['postgres://?ssl=true&sslmode=verify-full', { ssl: verifyFull }],
    ['postgres://?sslmode=prefer&ssl=1', { ssl: 'prefer' }],
    ['postgres://?sslaccept=accept_invalid_certs', {}],
    ['postgres://?sslmode=require&sslaccept=accept_invalid_certs', { ssl: unverified }],
    ['postgres://?sslaccept=strict', { ssl: verifyFull }],
    ['postgres://?sslmode=require&sslaccept=strict', { ssl: verifyFull }],
    ['postgres://?sslmode=verify-ca&sslaccept=strict', { ssl: verifyCa }],
    ['postgres://?options=endpoint%3Dep-cool-1', {}],
    ['postgres://?options=project%3Dcool', {}],
    ['postgres://db/shop\n', { ...at('db'), database: 'shop' }],
    ['postgres://db/shop?sslmode=disable\r\n', { ...at('db'), database: 'shop', ssl: false }],
    ['postgres://?sslmode=no-verify', { ssl: unverified }],
    ['postgres://?sslmode=verify-ca', { ssl: verifyCa }],
    ['postgres://?sslmode=verify-full', { ssl: verifyFull }],
    ['postgres://?sslrootcert=system', { ssl: verifyFull }],
    ['postgres://?connect_timeout=2', { connectTimeoutMs: 2000 }],
    ['postgres://?application_name=shop%20worker', { applicationName: 'shop worker' }],
    [
      'postgres://?channel_binding=require&pgbouncer=true&connection_limit=5&pool_timeout=0&schema=public&' +
        'gssencmode=disable',
      {},
    ],
  ])('%s', (url, expected) => {
    expect(fromUrl(url)).toEqual({ ...defaults, ...expected })
  })

  test('certificate files are read, and a root certificate makes require check the chain', () => {
    const url = (parameters: string) => fromUrl(`postgres://db?${parameters}`).ssl
    const ca = 'content of root.pem'
    expect(url(`sslmode=require&sslrootcert=${root}`)).toEqual({ ...verifyCa, ca })
    expect(url(`sslmode=verify-full&sslrootcert=${root}`)).toEqual({ ...verifyFull, ca })
    expect(url(`sslmode=require&sslcert=${certificate}&sslkey=${key}`)).toEqual({
      ...unverified,
      cert: 'content of client.pem',
      key: 'content of client.key',
    })
  })

  test('what is asked for and not had is a warning each, for whoever has set it up', () => {
    const url = (parameters: string) => warningsAbout(fromUrl(`postgres://db?${parameters}`))
    expect(url('channel_binding=require&min_protocol_version=3.2&ssl_min_protocol_version=TLSv1.3')).toEqual([
      expect.stringMatching(/^connectionString: channel_binding is left alone; .*sslmode=verify-full/),
      expect.stringMatching(/^connectionString: min_protocol_version is left alone; .*3\.0/),
      expect.stringMatching(/^connectionString: ssl_min_protocol_version is left alone; .*minVersion/),
    ])
    expect(url('channel_binding=prefer&min_protocol_version=3.0&ssl_min_protocol_version=TLSv1.2')).toEqual([])
    const lines: string[] = []
    const logger = { info() {}, warn: (line: string) => void lines.push(line), error() {} }
    createBugle({ connectionString: 'postgres://db?channel_binding=require', logger })
    expect(lines).toEqual([expect.stringMatching(/^bugle: connectionString: channel_binding is left alone/)])
  })

  test.each<[string, string]>([
    ['', 'connectionString must be a URL like postgres://user:password@host:5432/database; got no scheme'],
    [
      'mysql://jo@db',
      'connectionString must be a URL like postgres://user:password@host:5432/database; got the scheme mysql',
    ],
    ['Postgres://db', 'got the scheme Postgres'],
    ['host=db password=hush', "libpq's keyword form (host=… dbname=…) is not read"],
    ['postgres://jo:hu/sh@db', 'connectionString must have no @ after the host: percent-encode'],
    ['postgres://jo:hu?sh@db', 'connectionString must have no @ after the host'],
    ['postgres://jo:hush', 'connectionString must have hosts like name:5432 or [::1]:5432'],
    ['postgres://jo:1:hush@db:hush', 'connectionString must have hosts like'],
    ['postgres://::1', 'connectionString must have hosts like'],
    ['postgres://[::1', 'connectionString must have hosts like'],
    ['postgres://[::1]x', 'connectionString must have hosts like'],
    ['postgres://jo:hush%zz@db', 'connectionString: password must be percent-encoded UTF-8; write a % itself as %25'],
    ['postgres://jo:hush%00@db', 'connectionString: password must not have NUL'],
    ['postgres://jo:%FF@db', 'connectionString: password must be percent-encoded UTF-8'],
    ['postgres://db/a%00', 'connectionString: database must not have NUL'],
    ['postgres://db:0', 'connectionString: port must be a whole number from 1 to 65535; got a value that is not shown'],
    ['postgres://db:70000', 'connectionString: port must be a whole number from 1 to 65535'],
    ['postgres://db?port=70000', 'connectionString: port must be a whole number from 1 to 65535; got "70000"'],
    ['postgres://db?port=x', 'connectionString: port must be a whole number from 1 to 65535; got "x"'],
    [
      'postgres://?host=a b',
      'connectionString: host must be a host name, an address or a socket directory that starts with /; got "a b"',
    ],
    ['postgres://?host=db:5433', 'connectionString: host must be a host name, an address or a socket directory'],
    ['postgres://h1,,h2', 'connectionString: host must be a host name'],
    ['postgres://h1,h2?port=1,2,3', 'connectionString: port must be one, or one for each host; got 3 for 2'],
    ['postgres://%2Ftmp,h2', 'connectionString: host must be one socket directory, or host names only'],
    [
      'postgres://db?sslmode=allow',
      'connectionString: sslmode must be "disable", "prefer", "require", "verify-ca" or "verify-full"; got "allow"',
    ],
    ['postgres://db?ssl=constructor', 'connectionString: sslmode must be'],
    ['postgres://db?ssl=true&sslmode=disable', 'connectionString: ssl and sslmode must not contradict each other'],
    [
      'postgres://db?sslmode=verify-full&ssl=0',
      'ssl and sslmode must not contradict each other; got ssl 0 and sslmode',
    ],
    ['postgres://db?sslmode=disable&sslmode=require', 'connectionString: sslmode must be given once'],
    ['postgres://db?ssl=true&ssl=true', 'connectionString: ssl must be given once'],
    ['postgres://db?sslaccept=strict&sslmode=disable', 'connectionString: sslaccept must be accept_invalid_certs, or'],
    ['postgres://db?sslaccept=yes', 'connectionString: sslaccept must be accept_invalid_certs, or strict where TLS'],
    ['postgres://db?options=endpoint%3Da%20-c%20x%3Dy', 'got "options": set it for the role or database'],
    [
      'postgres://db?sslmode=verify-full&sslrootcert=/no/such',
      'connectionString: sslrootcert must be a file that can be read; got "/no/such"',
    ],
    [
      'postgres://db?sslrootcert=/no/such',
      'connectionString: sslrootcert must come with sslmode require, verify-ca or verify-full; got sslmode prefer',
    ],
    [
      'postgres://db?sslmode=require&sslrootcert=system',
      'connectionString: sslmode must be verify-full with sslrootcert=system; got require',
    ],
    [
      'postgres://db?sslmode=require&sslcert=/x',
      'sslcert and sslkey must be given together; got only connectionString: sslcert',
    ],
    ['postgres://db?connect_timeout=0', 'connectionString: connect_timeout must be a whole number from 1'],
    [
      'postgres://db?connect_timeout=1.5',
      'connectionString: connect_timeout must be whole seconds from 1 up; got "1.5"',
    ],
    [
      'postgres://db?target_session_attrs=standby',
      'connectionString: target_session_attrs must be any, read-write or primary, as Bugle writes; got "standby"',
    ],
    [
      'postgres://db?target_session_attrs=master',
      'connectionString: target_session_attrs must be "any", "read-write" or "primary"; got "master"',
    ],
    [
      'postgres://db?sslmod=require',
      'connectionString must have only parameters that Bugle knows; got "sslmod": leave it out',
    ],
    ['postgres://db?options=-c%20x%3Dy', 'got "options": set it for the role or database'],
    ['postgres://db?sslpassword=hush', 'got "sslpassword": decrypt the key'],
    ['postgres://db?__proto__=1', 'got "__proto__"'],
    ['postgres://db?sslmode', 'connectionString: the parameter "sslmode" must have a value'],
  ])('%s is refused', (url, message) => {
    const told = refused(() => fromUrl(url))
    expect(told).toContain(message)
    expect(told).not.toContain('hush')
  })
})

describe('fields', () => {
  const ask = async () => 'secret'
  const own = { ca: 'x' }

  test.each<[unknown, Partial<Connection>]>([
    [{}, {}],
    [
      { host: 'db', port: 5433, database: 'shop', user: 'jo', password: 'p' },
      { ...at('db', 5433), user: 'jo', database: 'shop', password: 'p' },
    ],
    [
      { host: '/tmp', user: 'jo' },
      { ...at('/tmp'), ...jo, ssl: false },
    ],
    [{ host: 'h1,h2', port: 6000 }, { hosts: [...at('h1', 6000).hosts, ...at('h2', 6000).hosts] }],
    [{ host: '::1' }, at('::1')],
    [{ password: ask }, { password: ask }],
    [{ password: '' }, {}],
    [{ host: undefined, password: undefined, ssl: undefined }, {}],
    [{ ssl: true }, { ssl: verifyFull }],
    [{ ssl: false }, { ssl: false }],
    [{ ssl: 'require' }, { ssl: unverified }],
    [{ ssl: own }, { ssl: own }],
  ])('%j', (fields, expected) => {
    expect(fromFields(fields)).toEqual({ ...defaults, ...expected })
  })

  test("the caller's tls options stay as they were", () => {
    const { ssl } = fromFields({ ssl: own })
    expect(ssl).not.toBe(own)
    expect(Object.isFrozen(own)).toBe(false)
  })

  test.each<[unknown, string]>([
    [null, 'connection must be a plain object of fields; got null'],
    ['postgres://jo:hush@db', 'connection must be a plain object of fields; got string'],
    [['postgres://jo:hush@db'], 'connection must be a plain object of fields; got array'],
    [new URL('postgres://jo:hush@db'), 'connection must be a plain object of fields; got object'],
    [{ hostname: 'db' }, 'connection: there is no option "hostname"; did you mean host?'],
    [{ host: '' }, 'connection.host must be a string that is not empty and has no NUL; got ""'],
    [{ host: 5 }, 'connection.host must be a string'],
    [{ user: 'a\0' }, 'connection.user must be a string'],
    [{ database: '\uD800' }, 'connection.database must be a string'],
    [
      { host: 'db:5433' },
      'connection.host must be a host name, an address or a socket directory that starts with /; got "db:5433"',
    ],
    [{ port: 0 }, 'connection.port must be a whole number from 1 to 65535; got 0'],
    [{ port: '5432' }, 'connection.port must be a whole number from 1 to 65535; got "5432"'],
    [{ password: 'hush\0' }, 'connection.password must be a string without NUL, or a function'],
    [{ password: Promise.resolve('hush') }, 'connection.password must be a string without NUL, or a function'],
    [{ ssl: 'yes' }, 'connection.ssl must be true, false, "disable"'],
    [{ ssl: null }, 'connection.ssl must be true'],
  ])('%j is refused', (fields, message) => {
    const told = refused(() => fromFields(fields))
    expect(told).toContain(message)
    expect(told).not.toContain('hush')
  })

  test('both a URL and fields are refused', () => {
    expect(refused(() => resolveConnection({ connectionString: 'postgres://jo:hush@db', connection: {} }, {}))).toBe(
      'connectionString and connection must not both be given; leave one of them out',
    )
  })

  test('a URL of another option is called by its name', () => {
    const told = refused(() => resolveConnection({ connectionString: 'db' }, {}, 'listenConnectionString'))
    expect(told).toMatch(/^listenConnectionString must be a URL/)
  })

  test('a URL that is no string is refused without being shown', () => {
    const told = refused(() => fromUrl(new URL('postgres://jo:hush@db') as unknown as string))
    expect(told).toBe('connectionString must be a URL as a string; got object')
  })
})

describe('the environment', () => {
  const env = {
    PGHOST: '/run/pg',
    PGPORT: '6000',
    PGDATABASE: 'envdb',
    PGUSER: 'envuser',
    PGPASSWORD: 'envpass',
    PGSSLMODE: 'disable',
    PGAPPNAME: 'envapp',
    PGCONNECT_TIMEOUT: '7',
    PGTARGETSESSIONATTRS: 'primary',
  }
  const fromEnv: Connection = {
    hosts: [{ host: '/run/pg', port: 6000 }],
    database: 'envdb',
    user: 'envuser',
    password: 'envpass',
    ssl: false,
    connectTimeoutMs: 7000,
    applicationName: 'envapp',
  }

  test('with nothing given it is DATABASE_URL, else the PG* variables, else the defaults', () => {
    expect(resolveConnection({}, { DATABASE_URL: 'postgres://jo@db/shop' })).toEqual({
      ...defaults,
      ...at('db'),
      user: 'jo',
      database: 'shop',
    })
    expect(resolveConnection({}, env)).toEqual(fromEnv)
    expect(resolveConnection({}, { DATABASE_URL: '', PGHOST: '' })).toEqual(defaults)
  })

  test('what is given goes before DATABASE_URL', () => {
    expect(fromUrl('postgres://a', { DATABASE_URL: 'postgres://b' }).hosts).toEqual(at('a').hosts)
    expect(fromFields({ host: 'a' }, { DATABASE_URL: 'postgres://b/c' })).toEqual({ ...defaults, ...at('a') })
  })

  test('the PG* variables fill in what is left out, as with libpq', () => {
    expect(fromUrl('postgres://jo@db/shop?sslmode=require', env)).toEqual({
      ...fromEnv,
      hosts: [{ host: 'db', port: 6000 }],
      user: 'jo',
      database: 'shop',
      ssl: unverified,
    })
    expect(fromFields({ user: 'jo' }, { PGSSLMODE: 'verify-full', PGSSLROOTCERT: root })).toEqual({
      ...defaults,
      ...jo,
      ssl: { ...verifyFull, ca: 'content of root.pem' },
    })
  })

  test('refusals name the variable', () => {
    expect(refused(() => resolveConnection({}, { PGPORT: 'x' }))).toMatch(/^PGPORT must be .*; got "x"$/)
    expect(refused(() => resolveConnection({}, { PGSSLMODE: 'x' }))).toMatch(/^PGSSLMODE must be .*; got "x"$/)
    expect(refused(() => resolveConnection({}, { DATABASE_URL: 'x' }))).toMatch(/^DATABASE_URL must be a URL/)
    expect(refused(() => resolveConnection({}, { PGCONNECT_TIMEOUT: '-1' }))).toMatch(/^PGCONNECT_TIMEOUT must be/)
  })
})

test('a connection is frozen, and described without its password', () => {
  const connection = fromUrl('postgres://jo:hush@[::1]:5433,db/shop?sslmode=require&password=hush2')
  expect(describeConnection(connection)).toBe('database "shop" at [::1]:5433,db:5432 as user "jo"')
  for (const part of [connection, connection.hosts, connection.hosts[0], connection.ssl]) {
    expect(Object.isFrozen(part)).toBe(true)
  }
})

test('a connection that nobody has named says so', () => {
  const at = (env: NodeJS.ProcessEnv, input = {}) =>
    describeConnection(resolveConnection(input, { USER: 'jo', ...env }))
  const hint = / \(by default: DATABASE_URL is not set\)$/
  expect(at({})).toMatch(hint)
  expect(at({ PGUSER: 'ada' })).toMatch(hint)
  expect(at({ PGHOST: 'db' })).not.toMatch(hint)
  expect(at({ DATABASE_URL: 'postgres://localhost/shop' })).not.toMatch(hint)
  expect(at({ DATABASE_URL: 'postgres:///shop' })).not.toMatch(hint)
  expect(at({}, { connection: { database: 'shop' } })).not.toMatch(hint)
})
