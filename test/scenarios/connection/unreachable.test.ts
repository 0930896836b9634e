import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import pg from 'pg'
import { expect } from 'vitest'
import { type Bugle, createBugle } from '../../../src/index.js'
import { signal, type TestDatabase, test } from '../../support/database.js'
import { expectNothing } from '../../support/nothing-written.js'
import { refusal } from '../../support/refusal.js'
import { until } from '../../support/until.js'

test('input: a closed port is DATABASE_DOWN, told once, and consume waits until its signal', async ({ db }) => {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  const bugle = db.bugle({ connectionString: changed(db, { port: String(Object(address).port) }) })
  const down = db.collect(bugle, 'database:down')
  await expectDown(bugle, /^cannot reach database "/)
  expect(down.all).toMatchObject([{ queue: null, error: expect.any(Error) }])

  const enough = new AbortController()
  const consuming = bugle.consume('emails', () => {}, { signal: enough.signal })
  const reason = new Error('enough')
  enough.abort(reason)
  await expect(consuming).rejects.toBe(reason)
  await bugle.close()
  await expectNothing(db)
})

/** Makers of connection strings, each refused for its own reason until somebody mends it. */
const refusedForGood: Record<string, (db: TestDatabase) => Promise<string>> = {
  'an unknown host': async (db) => changed(db, { hostname: 'nowhere.invalid' }),
  'an unknown role': async (db) => changed(db, { username: 'nobody-knows' }),
  'an unknown database': async (db) => changed(db, { pathname: '/nothing-here' }),
  'a role that may not log in': async (db) => {
    await db.sql.unsafe(`create role ${db.s} nologin`)
    return changed(db, { username: db.schema })
  },
}

for (const [what, address] of Object.entries(refusedForGood)) {
  test(`input: ${what} is DATABASE_DOWN, told once, and consume does not wait for it`, async ({ db }) => {
    const connectionString = await address(db)
    await expectRefusedForGood(db, db.bugle({ connectionString }), /^cannot reach database "/)
    await db.sql.unsafe(`drop role if exists ${db.s}`)
  })
}

test('input: a server that refuses the start-up packet, as poolers do, is not waited for', async ({ db }) => {
  const server = createServer((socket) => {
    socket.on('data', (packet) => {
      const asksForTls = packet.length === 8
      if (asksForTls) socket.write('N')
      else socket.end(errorResponse('08P01', 'no such thing'))
    })
    socket.on('error', () => {})
  }).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const port = String(Object(server.address()).port)
  await expectRefusedForGood(db, db.bugle({ connectionString: changed(db, { port }) }), /no such thing/)
  await new Promise((resolve) => server.close(resolve))
})

/** With its severity, code and message, as the protocol has it. */
function errorResponse(code: string, message: string): Buffer {
  const fields = Buffer.from(`SFATAL\0VFATAL\0C${code}\0M${message}\0\0`)
  const head = Buffer.alloc(5, 'E')
  head.writeInt32BE(fields.length + 4, 1)
  return Buffer.concat([head, fields])
}

const laterRefusals = {
  '42501': (s: string) => [
    `revoke connect on database ${s} from public, ${s}`,
    `grant connect on database ${s} to ${s}`,
  ],
  '55000': (s: string) => [`alter database ${s} allow_connections false`, `alter database ${s} allow_connections true`],
}

for (const [code, statements] of Object.entries(laterRefusals)) {
  test(`input: a log-in that is refused later, by ${code}, is DATABASE_DOWN and told, until it is not`, async ({
    db,
  }) => {
    // Of roles that are no superusers only, in a database of its own.
    const connectionString = changed(db, { username: db.schema, pathname: `/${db.schema}` })
    const [refuse = '', allow = ''] = statements(db.s)
    await db.sql.unsafe(`create role ${db.s} login`)
    await db.sql.unsafe(`create database ${db.s} owner ${db.s}`)
    const bugle = db.bugle({ connectionString, poolSize: 2 })
    const down = db.collect(bugle, 'database:down')
    const up = db.collect(bugle, 'database:up')
    try {
      await bugle.migrate()
      // By another connection than that for puts, which the next put opens.
      expect(await bugle.health()).toMatchObject({ isHealthy: true })
      await db.sql.unsafe(refuse)
      expect(await refusal(() => bugle.put('q', 1))).toMatchObject({
        code: 'DATABASE_DOWN',
        cause: { cause: { code } },
      })
      expect(down.all).toMatchObject([{ error: { code } }])
      // An instance that was never there before does not wait.
      const late = db.bugle({ connectionString })
      expect(await refusal(() => late.consume('q', () => {}))).toMatchObject({ code: 'DATABASE_DOWN', cause: { code } })
      await late.close()
      await db.sql.unsafe(allow)
      await bugle.put('q', 2)
      expect(up.all).toHaveLength(1)
    } finally {
      await bugle.close()
      await db.sql.unsafe(`drop database ${db.s} with (force)`)
      await db.sql.unsafe(`drop role ${db.s}`)
    }
  })
}

test('input: a role that may only read is DATABASE_DOWN for a put, and told, also behind a pooler', async ({ db }) => {
  await db.sql.unsafe(`create role ${db.s} login superuser; alter role ${db.s} set default_transaction_read_only = on`)
  // As behind a pooler: our sessions set nothing.
  const bugle = db.bugle({ connectionString: changed(db, { username: db.schema }), prepare: false })
  const down = db.collect(bugle, 'database:down')
  expect(await refusal(() => bugle.put('emails', 1))).toMatchObject({
    code: 'DATABASE_DOWN',
    message: expect.stringMatching(/^cannot write to .* are read only here/),
  })
  expect(down.all).toMatchObject([{ error: { name: 'ReadOnlyError' } }])
  expect(await db.jobs()).toEqual([])
  await bugle.close()
  await db.sql.unsafe(`drop role ${db.s}`)
})

test('input: a wrong password is DATABASE_DOWN, and the message does not show it', async ({ db }) => {
  // Before PostgreSQL 14 the default is md5, which the rule for this role would not take.
  await db.sql.unsafe(`
    set password_encryption = 'scram-sha-256';
    create role ${db.s} login superuser password 'right'`)
  const restore = await demandPassword(db)
  try {
    const wrong = changed(db, { username: db.schema, password: 'secret-but-wrong' })
    const error = await expectRefusedForGood(db, db.bugle({ connectionString: wrong }), /authentication failed/)
    expect(`${error.message} ${String(error.cause)}`).not.toContain('secret')
    const right = db.bugle({ connectionString: changed(db, { username: db.schema, password: 'right' }) })
    await right.put('emails', 1)
    expect(await db.jobs()).toHaveLength(1)
    await right.close()
  } finally {
    await restore()
    await db.sql.unsafe(`drop role ${db.s}`)
  }
})

test('a password that SCRAM prepares opens sessions and pools alike', async ({ db }) => {
  // A soft hyphen, which goes, and a Roman numeral, which becomes letters.
  await withRole(db, 'so\u00ADft \u2168', async (user) => {
    const bugle = createBugle({ schema: db.schema, connection: connectionOf(db, user, 'so\u00ADft \u2168') })
    const ran = signal()
    await bugle.consume('q', () => ran.resolve())
    await bugle.put('q', null)
    await ran.promise
    expect((await bugle.health()).listener).toBe('live')
    await bugle.close()
  })
})

test('what a password function throws is told, and the cause, in sessions and in pools', async ({ db }) => {
  await withRole(db, 'right', async (user) => {
    const noToken = new Error('no token')
    let asked = async (): Promise<string> => Promise.reject(noToken)
    const connection = connectionOf(db, user, () => asked())
    const name = `${db.schema} password`
    const bugle = createBugle({ schema: db.schema, name, connection })
    const told = `connection.password for ${connection.host}:${connection.port} failed: no token`
    const causesOf = (error: unknown): unknown[] => (error instanceof Error ? [error, ...causesOf(error.cause)] : [])
    // The first look is a session.
    const first = await refusal(() => bugle.put('q', 1))
    expect([first.code, first.message.endsWith(told)]).toEqual(['DATABASE_DOWN', true])
    expect(causesOf(first)).toContain(noToken)
    asked = async () => 'right'
    await bugle.put('q', 2)
    // The pool's next connection.
    asked = () => Promise.reject(noToken)
    const pids = await db.sql<{ pid: number }[]>`select pid from pg_stat_activity where application_name = ${name}`
    await db.kill(pids.map(({ pid }) => pid))
    const then = await until(async () => {
      const error = await bugle.put('q', 3).catch((reason) => reason)
      return causesOf(error).includes(noToken) && error
    })
    expect([then.code, then.message.endsWith(told)]).toEqual(['DATABASE_DOWN', true])
    asked = async () => 'right'
    await bugle.put('q', 4)
    await bugle.close()
  })
})

/**
 * Asserts that the instance reports its database as down, also to `consume` and `drain`, and closes it.
 *
 * @returns the error with which it refused `put`
 */
async function expectRefusedForGood(db: TestDatabase, bugle: Bugle, message: RegExp): Promise<Error> {
  const down = db.collect(bugle, 'database:down')
  const error = await expectDown(bugle, message)
  const refused = { code: 'DATABASE_DOWN', message: error.message }
  expect(await refusal(() => bugle.consume('emails', () => {}))).toMatchObject(refused)
  expect(await refusal(() => bugle.drain('emails', () => {}))).toMatchObject(refused)
  expect(down.all).toMatchObject([{ queue: null, error: expect.any(Error) }])
  await bugle.close()
  await expectNothing(db)
  return error
}

/** @returns the error with which it refused `put` */
async function expectDown(bugle: Bugle, message: RegExp): Promise<Error> {
  const refused = { code: 'DATABASE_DOWN', message: expect.stringMatching(message), cause: expect.any(Error) }
  const error = await refusal(() => bugle.put('emails', 1))
  expect(error).toMatchObject(refused)
  expect(await refusal(() => bugle.putMany('emails', [1]))).toMatchObject(refused)
  expect(await refusal(() => bugle.migrate())).toMatchObject(refused)
  return error
}

function changed(
  db: TestDatabase,
  parts: Partial<Pick<URL, 'hostname' | 'port' | 'username' | 'password' | 'pathname'>>,
): string {
  return Object.assign(new URL(db.connectionString), parts).href
}

/** From now on the role of the schema's name needs its password. The function that it returns undoes this. */
async function demandPassword(db: TestDatabase): Promise<() => Promise<void>> {
  const [row] = await db.sql<{ file: string }[]>`select current_setting('hba_file') as file`
  const file = row?.file ?? ''
  const before = readFileSync(file, 'utf8')
  await rewrite(`host all ${db.s} all scram-sha-256\n${before}`)
  return () => rewrite(before)

  async function rewrite(text: string): Promise<void> {
    writeFileSync(file, text)
    // A session that began after the server has read its files says so: their time is inherited from the postmaster.
    const [old] = await db.sql<{ at: Date }[]>`select pg_conf_load_time() as at`
    await db.sql`select pg_reload_conf()`
    await until(async () => {
      const client = new pg.Client({ connectionString: db.connectionString })
      await client.connect()
      const { rows } = await client.query<{ at: Date }>('select pg_conf_load_time() as at')
      await client.end()
      return rows[0]?.at.getTime() !== old?.at.getTime()
    })
  }
}

/** With a role of the schema's name, which needs that password. */
async function withRole(db: TestDatabase, password: string, work: (user: string) => Promise<void>): Promise<void> {
  await db.sql.unsafe(`
    set password_encryption = 'scram-sha-256';
    create role ${db.s} login superuser password '${password}'`)
  const restore = await demandPassword(db)
  try {
    await work(db.schema)
  } finally {
    await restore()
    await db.sql.unsafe(`drop role ${db.s}`)
  }
}

function connectionOf(db: TestDatabase, user: string, password: string | (() => Promise<string>)) {
  const { hostname, port, pathname } = new URL(db.connectionString)
  return { host: hostname, port: Number(port), database: pathname.slice(1), user, password }
}
