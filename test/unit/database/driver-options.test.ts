import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ConnectionOptions, PeerCertificate } from 'node:tls'
import pg from 'pg'
import { afterAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { type Connection, type ConnectionFields, resolveConnection } from '../../../src/database/connection.js'
import {
  inPlaceOfVariables,
  openPgClient,
  openPostgres,
  pgConfig,
  postgresOptions,
} from '../../../src/database/driver-options.js'

// Without a server: what the drivers make of the fields.

const files = mkdtempSync(join(tmpdir(), 'bugle-driver-options-'))
afterAll(() => rmSync(files, { recursive: true }))

function fileOf(name: string): string {
  writeFileSync(join(files, name), `content of ${name}`)
  return join(files, name)
}

const fromUrl = (connectionString: string) => resolveConnection({ connectionString }, {})
const fromFields = (connection: unknown) => resolveConnection({ connection: connection as ConnectionFields }, {})

const unverified = { rejectUnauthorized: false }

// Each of them would change a session if a field were left out; some make a driver throw.
const meddling = {
  PGHOST: 'wrong',
  PGHOSTADDR: '10.9.9.9',
  PGPORT: '1',
  PGDATABASE: 'wrong',
  PGUSER: 'wrong',
  PGUSERNAME: 'wrong',
  PGPASSWORD: 'wrong',
  PGSSLMODE: 'verify-full',
  PGSSL: 'require',
  PGSSLNEGOTIATION: 'direct',
  PGAPPNAME: 'wrong',
  PGOPTIONS: '-c search_path=wrong',
  PGREPLICATION: 'database',
  PGBINARY: 'true',
  PGCONNECT_TIMEOUT: '99',
  PGTARGETSESSIONATTRS: 'standby',
  PGTARGET_SESSION_ATTRS: 'standby',
  PGCLIENT_ENCODING: 'latin1',
}
const none = Object.fromEntries(Object.keys(meddling).map((name) => [name, undefined]))

function pgSees(connection: Connection) {
  const { ssl } = connection
  return connection.hosts.map((host) => {
    const client = openPgClient(pgConfig(connection, host, ssl === 'prefer' ? unverified : ssl))
    // What it would send: the declarations leave these out.
    const inner = client as unknown as {
      getStartupConf(): object
      sslNegotiation: string
      _connectionTimeoutMillis: number
    }
    return {
      host: client.host,
      port: client.port,
      startup: inner.getStartupConf(),
      password: client.password,
      ssl: client.ssl,
      negotiation: inner.sslNegotiation,
      connectTimeoutMs: inner._connectionTimeoutMillis,
    }
  })
}

async function postgresSees(connection: Connection) {
  const untyped: object = postgresOptions(connection)
  const sql = openPostgres({ ...untyped })
  await sql.end()
  const { host, port, path, database, user, pass, ssl, connection: startup, ...rest } = sql.options
  const { sslnegotiation, connect_timeout, target_session_attrs } = rest as typeof rest & { sslnegotiation: unknown }
  return {
    host,
    port,
    path,
    database,
    user,
    pass,
    ssl,
    startup,
    sslnegotiation,
    connect_timeout,
    target_session_attrs,
  }
}

beforeEach(() => {
  vi.unstubAllEnvs()
  for (const [name, value] of Object.entries(none)) vi.stubEnv(name, value)
  return () => vi.unstubAllEnvs()
})

const urls = [
  'postgres://jo@db/shop',
  'postgres://jo:secret@db:5433/shop?sslmode=disable&application_name=worker&connect_timeout=3',
  'postgres://jo:secret@h1:5433,[::1],10.0.0.7:5435/shop?sslmode=verify-full',
  'postgres://jo@%2Fvar%2Frun%2Fpostgresql:5433/shop',
  'postgres://jo:secret@db/shop?sslmode=require&target_session_attrs=primary',
]

test.each(urls)('%s: the PG* variables change nothing', async (url) => {
  const connection = fromUrl(url)
  const quiet = { pg: pgSees(connection), postgres: await postgresSees(connection) }
  for (const [name, value] of Object.entries(meddling)) vi.stubEnv(name, value)
  const meddled = { pg: pgSees(connection), postgres: await postgresSees(connection) }

  // The checks of names are made anew each time; what they accept is tested below.
  const functions = { asymmetricMatch: (other: unknown) => typeof other === 'function' }
  const comparable = (value: unknown): unknown =>
    typeof value === 'function' && value.name !== 'noPassword'
      ? functions
      : typeof value === 'object' && value !== null && !Array.isArray(value)
        ? Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, comparable(inner)]))
        : value
  expect(meddled.pg).toEqual(quiet.pg.map(comparable))
  expect(meddled.postgres).toEqual(comparable(quiet.postgres))
})

test.each(urls)('%s: both see the same', async (url) => {
  for (const [name, value] of Object.entries(meddling)) vi.stubEnv(name, value)
  const connection = fromUrl(url)
  const forPostgres = await postgresSees(connection)
  const forPg = pgSees(connection)
  const socket = connection.hosts[0]?.host.startsWith('/') === true
  expect(forPostgres).toMatchObject({
    host: forPg.map(({ host }) => host),
    port: forPg.map(({ port }) => port),
    path: socket ? '/var/run/postgresql/.s.PGSQL.5433' : false,
    database: 'shop',
    user: 'jo',
    sslnegotiation: null,
    target_session_attrs: null,
    connect_timeout: connection.connectTimeoutMs / 1000,
    startup: { application_name: connection.applicationName ?? 'bugle' },
  })
  for (const seen of forPg) {
    expect(seen).toMatchObject({
      negotiation: 'postgres',
      connectTimeoutMs: connection.connectTimeoutMs,
    })
    // All that is sent: no options, and no replication.
    expect(seen.startup).toEqual({
      database: 'shop',
      user: 'jo',
      application_name: connection.applicationName ?? 'bugle',
    })
  }
  const passwords = [forPostgres.pass, ...forPg.map(({ password }) => password)] as unknown[]
  for (const password of passwords) {
    const told = typeof password === 'function' ? await password() : password
    expect(told).toBe(connection.password ?? '')
  }
  const tls = [forPostgres.ssl, ...forPg.map(({ ssl }) => ssl)] as (ConnectionOptions | false | 'prefer')[]
  for (const ssl of tls) {
    if (typeof connection.ssl === 'object') expect(ssl).toMatchObject(connection.ssl)
    else if (connection.ssl === false) expect(ssl).toBe(false)
    else expect(ssl === 'prefer' || !(ssl as ConnectionOptions).rejectUnauthorized).toBe(true)
  }
})

test('pg makes the key of its own copy invisible, and can do so again for the next client', () => {
  const pair = `sslcert=${fileOf('client.pem')}&sslkey=${fileOf('client.key')}`
  const connection = fromUrl(`postgres://db?sslmode=require&${pair}`)
  expect(() => [pgSees(connection), pgSees(connection)]).not.toThrow()
  expect(Object.keys(connection.ssl as object)).toContain('key')
})

test('a password function that fails ends no process, and its own error is the cause', async () => {
  const fail = new Error('no token')
  const told: unknown[] = []
  const ask = async () => {
    if (told.length === 0) throw fail
    return 5 as unknown as string
  }
  const { password } = postgresOptions(fromFields({ host: 'db', password: ask }), (error) => told.push(error))
  if (typeof password !== 'function') throw new Error('it must be asked each time')
  expect([await password(), await password()]).toEqual(['', ''])
  const code = 'NO_PASSWORD'
  expect(told).toMatchObject([
    { code, cause: fail, message: 'connection.password for db:5432 failed: no token' },
    { code, message: 'connection.password for db:5432 must resolve to a string; got number' },
  ])
})

test('a password function that hangs is given up by both drivers, with host and port', async () => {
  const connection = { ...fromFields({ host: 'db', password: () => new Promise(() => {}) }), connectTimeoutMs: 10 }
  const told: unknown[] = []
  const { password: forPool } = postgresOptions(connection, (error) => told.push(error))
  const { password: forSession } = pgConfig(connection, { host: 'db', port: 5432 }, false)
  if (typeof forPool !== 'function' || typeof forSession !== 'function') throw new Error('it must be asked each time')
  const message = 'connection.password for db:5432 failed: the function: no answer within 8 ms'
  await forPool()
  expect(told).toMatchObject([{ message }])
  await expect(forSession()).rejects.toThrow(message)
})

test('pg-listen makes its client itself: words that ask for nothing keep the variables out', () => {
  const startup = (own: object) => {
    const fields = { ...pgConfig(fromUrl('postgres://jo@db/shop'), { host: 'db', port: 5432 }, false), ...own }
    return (new pg.Client(fields) as unknown as { getStartupConf(): object }).getStartupConf()
  }
  expect(inPlaceOfVariables()).toEqual({})
  for (const [name, value] of Object.entries(meddling)) vi.stubEnv(name, value)
  expect(startup({})).toMatchObject({ options: meddling.PGOPTIONS, replication: 'database' })
  expect(startup(inPlaceOfVariables())).toMatchObject({ options: ' ', replication: 'false' })
})

test('a password that SCRAM prepares to nothing is no empty one, for which PGPASSWORD would be read', async () => {
  vi.stubEnv('PGPASSWORD', 'wrong')
  const { password } = postgresOptions(fromFields({ password: '\u00AD' }))
  expect(typeof password === 'function' && (await password())).toBe('')
})

test('both hash the same password: postgres.js gets the prepared one, and pg prepares it itself', async () => {
  const given = 'I\u00ADX'
  expect(postgresOptions(fromFields({ password: given })).password).toBe('IX')
  const { password } = postgresOptions(fromFields({ password: async () => given }))
  expect(typeof password === 'function' && (await password())).toBe('IX')
  expect(pgConfig(fromFields({ password: given }), { host: 'db', port: 5432 }, false).password).toBe(given)
})

test('certificate files are read again at each connect, and one that is gone is that connect’s error', () => {
  const file = fileOf('rotated.pem')
  const connection = fromUrl(`postgres://db?sslmode=verify-full&sslrootcert=${file}`)
  const read = () => [
    (postgresOptions(connection).ssl as ConnectionOptions).ca,
    (pgConfig(connection, { host: 'db', port: 5432 }, connection.ssl as ConnectionOptions).ssl as ConnectionOptions).ca,
  ]
  expect(read()).toEqual(Array(2).fill('content of rotated.pem'))
  writeFileSync(file, 'second')
  expect(read()).toEqual(['second', 'second'])
  rmSync(file)
  expect(read).toThrow(expect.objectContaining({ code: 'ENOENT' }))
})

describe('names in certificates', () => {
  const naming = (subjectaltname: string) => ({ subject: {}, subjectaltname }) as PeerCertificate
  const checkOf = (url: string) => {
    const { ssl } = postgresOptions(fromUrl(url))
    return typeof ssl === 'object' ? ssl.checkServerIdentity : undefined
  }

  // postgres.js gives TLS no name for an address, and Node then asks about "localhost".
  test('for an address postgres.js takes a certificate for that address, and none for localhost', () => {
    const check = checkOf('postgres://10.0.0.7?sslmode=verify-full')
    expect(check?.('localhost', naming('IP Address:10.0.0.7'))).toBeUndefined()
    expect(check?.('localhost', naming('DNS:localhost'))).toBeInstanceOf(Error)
    expect(check?.('localhost', naming('IP Address:10.0.0.8'))).toBeInstanceOf(Error)
  })

  test('with names and addresses each is held to its own', () => {
    const check = checkOf('postgres://db,10.0.0.7,[::1]?sslmode=verify-full')
    expect(check?.('db', naming('DNS:db'))).toBeUndefined()
    expect(check?.('db', naming('IP Address:10.0.0.7'))).toBeInstanceOf(Error)
    expect(check?.('localhost', naming('IP Address:10.0.0.7'))).toBeUndefined()
    expect(check?.('localhost', naming('DNS:db'))).toBeInstanceOf(Error)
    expect(check?.('elsewhere', naming('DNS:db'))).toBeInstanceOf(Error)
  })

  test("names alone are left to Node, and the user's own check stays", () => {
    expect(checkOf('postgres://db?sslmode=verify-full')).toBeUndefined()
    const own = () => undefined
    const { ssl } = postgresOptions(fromFields({ host: '10.0.0.7', ssl: { checkServerIdentity: own } }))
    expect(ssl).toEqual({ checkServerIdentity: own })
  })

  // pg writes the host over it.
  test("pg holds the certificate to the user's servername", () => {
    const connection = fromFields({ host: 'proxy', ssl: { servername: 'db' } })
    const { ssl } = pgConfig(connection, { host: 'proxy', port: 5432 }, connection.ssl as ConnectionOptions)
    const check = typeof ssl === 'object' ? ssl.checkServerIdentity : undefined
    expect(check?.('proxy', naming('DNS:db'))).toBeUndefined()
    expect(check?.('proxy', naming('DNS:proxy'))).toBeInstanceOf(Error)
  })
})
