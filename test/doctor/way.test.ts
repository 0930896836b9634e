import { expect } from 'vitest'
import { checks, type Finding } from '../../src/doctor/index.js'
import { freePort } from '../../src/embedded/postgres.js'
import { test } from '../support/clinic.js'
import { findPgbouncer, startPgbouncer } from '../support/pgbouncer.js'

const program = await findPgbouncer()
const behindPooler = test.skipIf(program === null)

const of = (findings: readonly Finding[], ...names: string[]) =>
  findings
    .filter(({ check }) => names.includes(check))
    .map(({ check, status, details: { connection, listenConnection } }) => ({
      check,
      status,
      ...(connection !== undefined && { connection, listenConnection }),
    }))

behindPooler(
  'pgbouncer in transaction mode is found; with a direct way to listen by all is well',
  async ({ clinic }) => {
    // One connection makes us wait, several are swapped; in turn, the last one used is not the next.
    for (const settings of [{}, { default_pool_size: '1' }, { server_round_robin: '1', min_pool_size: '5' }]) {
      const pooler = await startPgbouncer(program ?? '', clinic.connectionString, settings)
      try {
        const { connectionString } = pooler
        const alone = await clinic.examine({ connectionString })
        expect(of(alone, 'pooler', 'listen'), JSON.stringify(settings)).toEqual([
          { check: 'pooler', status: 'trouble', connection: 'transaction', listenConnection: 'transaction' },
          { check: 'listen', status: 'skipped' },
        ])
        // All that needs no session is looked at all the same.
        expect(of(alone, 'schema', 'drift', 'triggers', 'paused').map(({ status }) => status)).toEqual([
          'ok',
          'ok',
          'ok',
          'ok',
        ])
        const { code, stdout } = await clinic.doctor(['--json'], {
          DATABASE_URL: connectionString,
          BUGLE_LISTEN_URL: clinic.connectionString,
        })
        expect(stdout).toContain('"connection":"transaction","listenConnection":"direct"')
        expect(stdout).toContain('"check":"listen","status":"ok"')
        expect(code).toBe(0)
        // A lock taken through the pooler would stay on its connection and belong to the next client.
        expect(await clinic.sql`select from pg_locks where locktype = 'advisory'`).toHaveLength(0)
      } finally {
        await pooler.stop()
      }
    }
  },
)

behindPooler(
  'pgbouncer in session mode keeps sessions apart, and notifications arrive through it',
  async ({ clinic }) => {
    const pooler = await startPgbouncer(program ?? '', clinic.connectionString, { pool_mode: 'session' })
    try {
      const found = await clinic.examine({ connectionString: pooler.connectionString })
      expect(of(found, 'pooler')).toEqual([
        { check: 'pooler', status: 'ok', connection: 'session', listenConnection: 'session' },
      ])
      expect(of(found, 'listen')).toEqual([{ check: 'listen', status: 'ok' }])
    } finally {
      await pooler.stop()
    }
  },
)

test('a listen URL that leads to another database is trouble', async ({ clinic }) => {
  const listenConnectionString = clinic.connectionString.replace(/postgres$/, 'template1')
  const found = await clinic.examine({ listenConnectionString })
  expect(of(found, 'pooler', 'listen')).toEqual([
    { check: 'pooler', status: 'trouble', connection: 'direct', listenConnection: 'direct' },
    { check: 'listen', status: 'skipped' },
  ])
})

test('a server that is not there: the one trouble, and all else left out', async ({ clinic }) => {
  const DATABASE_URL = `postgres://postgres@127.0.0.1:${await freePort()}/postgres`
  const { code, stdout, stderr } = await clinic.doctor(['--json'], { DATABASE_URL })
  const found = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
  expect(found.map(({ check, status }) => [check, status])).toEqual(
    checks.map(({ name }) => [name, name === 'connection' ? 'trouble' : 'skipped']),
  )
  expect(found[0].message).toContain('ECONNREFUSED')
  expect({ code, stderr }).toEqual({ code: 1, stderr: '' })
})

test('a schema that is missing, older or newer', async ({ clinic }) => {
  const { s, sql } = clinic
  expect(await clinic.findings('schema', { schema: 'nowhere' })).toMatchObject([
    { status: 'trouble', remedy: 'npx bugle migrate --schema nowhere', details: { step: 0 } },
  ])
  await sql.unsafe(`delete from ${s}.migration where number > 1`)
  const older = await clinic.examine()
  expect(older.filter(({ check }) => check === 'schema')).toMatchObject([
    { status: 'trouble', remedy: expect.stringContaining('npx bugle migrate'), details: { step: 1 } },
  ])
  expect(older.filter(({ check }) => check === 'drift')).toMatchObject([{ status: 'skipped' }])
  await sql.unsafe(`insert into ${s}.migration (number, name) values (9999, '9999_later')`)
  expect(await clinic.findings('schema')).toMatchObject([
    { status: 'trouble', remedy: expect.stringContaining('npm install'), details: { step: 9999 } },
  ])
})

test('a role that may only connect: told what it may not do, and no check ends another', async ({ clinic }) => {
  const { sql } = clinic
  await sql.unsafe(`create role visitor login`)
  const connectionString = clinic.connectionString.replace('postgres@', 'visitor@')
  // Somebody else's session, whose transaction it is not shown.
  const other = clinic.connect()
  await other.unsafe('begin')
  const found = await clinic.examine({ connectionString })
  expect(of(found, 'connection', 'pooler', 'listen', 'clock').map(({ status }) => status)).toEqual([
    'ok',
    'ok',
    'ok',
    'ok',
  ])
  const [schema] = found.filter(({ check }) => check === 'schema')
  expect(schema).toMatchObject({ status: 'trouble', remedy: expect.stringContaining('npx bugle grants') })
  expect(of(found, 'vacuum-horizon', 'drift', 'workers').map(({ status }) => status)).toEqual([
    'skipped',
    'skipped',
    'skipped',
  ])
  expect(new Set(found.map(({ check }) => check)).size).toBe(checks.length)

  // May read the migrations and nothing else: each check says so for itself.
  await sql.unsafe(`grant usage on schema ${clinic.s} to visitor`)
  await sql.unsafe(`grant select on ${clinic.s}.migration to visitor`)
  const more = await clinic.examine({ connectionString })
  expect(
    of(more, 'schema', 'drift', 'triggers', 'workers', 'long-running', 'paused').map(({ status }) => status),
  ).toEqual(['ok', 'ok', 'ok', 'skipped', 'skipped', 'skipped'])
  await sql.unsafe(`drop owned by visitor`)
  await sql.unsafe(`drop role visitor`)
})
