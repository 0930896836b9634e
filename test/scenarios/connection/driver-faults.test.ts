/**
 * Faults of the driver postgres.js that src/database/pool-connection.ts guards against, each shown with the driver
 * alone. They are no promises of ours: a test that fails here after an upgrade says that the driver has mended its
 * fault, and so that one reason for the guard is gone.
 */
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { setImmediate as nextRound } from 'node:timers/promises'
import postgres from 'postgres'
import { expect, inject, onTestFinished, test } from 'vitest'
import { until } from '../../support/until.js'

/** One place, and the sockets that it has had; statements are given and kept as the pool's are. */
function place(connectTimeoutMs = 10_000) {
  const { hostname, port } = new URL(inject('connectionString'))
  const sockets: Socket[] = []
  const untyped: object = {
    socket: async () => {
      const socket = connect({ host: hostname, port: Number(port) })
      sockets.push(socket)
      return socket
    },
  }
  const sql = postgres(inject('connectionString'), {
    ...untyped,
    max: 1,
    idle_timeout: 0,
    fetch_types: false,
    connect_timeout: connectTimeoutMs / 1_000,
    backoff: () => 0,
  })
  onTestFinished(() => sql.end({ timeout: 0 }))
  return { sql, socket: (): Socket => sockets.at(-1) as Socket }
}

const reset = (): Error => Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' })

test('a statement between the error of a socket and its close is resolved with no rows, and never ran', async () => {
  const { sql, socket } = place()
  const name = `never_ran_${process.pid}`
  await sql`create sequence ${sql(name)}`
  onTestFinished(async () => void (await sql`drop sequence ${sql(name)}`))
  const lost = new Promise((resolve, reject) => {
    socket().once('error', () => sql.unsafe('select nextval($1)', [name]).then(resolve, reject))
  })
  const closed = new Promise((resolve) => socket().once('close', resolve))
  socket().destroy(reset())
  await closed
  // It is told when the next one has made the place log in again.
  expect(await sql`select is_called from ${sql(name)}`).toEqual([{ is_called: false }])
  expect(await lost).toMatchObject({ length: 0, command: null })
})

test('after a loss with a statement that was not written yet, the next socket never says hello', async () => {
  const { sql, socket } = place(300)
  await sql`select 1`
  await nextRound()
  // The close comes in this round of the event loop, the write of what is handed over now in the next one.
  socket().destroy()
  await expect(sql.unsafe('select $1::text', ['short'])).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' })
  await expect(sql`select 1`).rejects.toMatchObject({ code: 'CONNECT_TIMEOUT' })
  // And so for ever.
  await expect(sql`select 1`).rejects.toMatchObject({ code: 'CONNECT_TIMEOUT' })
})

test('the error with which a backend has ended is thrown at the next statement, which was not sent', async () => {
  const { sql } = place()
  const admin = postgres(inject('connectionString'), { max: 1 })
  onTestFinished(() => admin.end())
  const name = `not_sent_${process.pid}`
  await sql`create sequence ${sql(name)}`
  onTestFinished(async () => void (await admin`drop sequence ${admin(name)}`))
  const [{ pid } = { pid: 0 }] = await sql<{ pid: number }[]>`select pg_backend_pid() as pid`
  const slept = sql`select pg_sleep(60)`.catch((error) => error.code)
  await until(async () => (await admin`select from pg_stat_activity where pid = ${pid} and wait_event = 'PgSleep'`)[0])
  await admin`select pg_terminate_backend(${pid})`
  expect(await slept).toBe('CONNECTION_CLOSED')
  await expect(sql.unsafe('select nextval($1)', [name])).rejects.toMatchObject({ code: '57P01' })
  expect(await admin`select is_called from ${admin(name)}`).toEqual([{ is_called: false }])
})

test('a server that accepts and closes is connected to again at once, and the statement never ends', async () => {
  let accepted = 0
  const server = createServer((socket) => {
    accepted += 1
    socket.on('error', () => {})
    socket.end()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const port = typeof address === 'object' ? (address?.port ?? 0) : 0
  const sql = postgres({ host: '127.0.0.1', port, database: 'x', user: 'x', max: 1, backoff: () => 0 })
  let isOver = false
  sql`select 1`.then(
    () => {
      isOver = true
    },
    () => {
      isOver = true
    },
  )
  onTestFinished(async () => {
    await sql.end({ timeout: 0 })
    server.close()
  })
  await until(() => accepted > 100)
  expect(isOver).toBe(false)
})
