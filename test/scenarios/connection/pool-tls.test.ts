import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { setImmediate as nextRound } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { resolveConnection } from '../../../src/database/connection.js'
import { openPoolConnection } from '../../../src/database/pool-connection.js'
import { openAll, poolUnderTest } from '../../support/pool.js'
import { tlsEnd } from '../../support/tls-end.js'

// An error that nobody listens for ends the process, and here the run: no assertion is needed for that.
test('a connection over TLS can be given up at any moment of its opening', async () => {
  const accepted: Socket[] = []
  const server = createServer((socket) => {
    accepted.push(socket)
    socket.on('error', () => {})
    void tlsEnd(socket).then((plain) => plain.on('error', () => {}).resume())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    for (const socket of accepted) socket.destroy()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const connection = resolveConnection(
    { connectionString: `postgres://somebody@127.0.0.1:${port}/postgres?sslmode=require` },
    {},
  )
  const [host] = connection.hosts
  if (host === undefined) throw new Error('no host')
  const options = { connection, name: 'pool-tls', prepare: true, settings: {}, stateStatement: 'select 1' }
  for (let turn = 0; turn < 100; turn += 1) {
    let ends = 0
    const opening = openPoolConnection(
      options,
      host,
      () => {},
      () => {
        ends += 1
      },
    )
    for (let round = 0; round < turn % 50; round += 1) await nextRound()
    opening.destroy()
    expect([opening.isGone, ends]).toEqual([true, 1])
    await expect(opening.opened).rejects.toThrow('the connection was closed')
  }
})

test('a connection over TLS can be given up while a long statement is being written', async () => {
  const { pool } = await poolUnderTest({ poolSize: 1, sslmode: 'require' })
  const long = 'x'.repeat(8_000_000)
  for (let turn = 0; turn < 6; turn += 1) {
    await openAll(pool, 1)
    const sent = pool.query('select length($1::text) as length', [long], turn, 'long').then(
      ([row]) => row,
      (error) => error.code,
    )
    expect(['DEADLINE', { length: long.length }]).toContainEqual(await sent)
  }
})
