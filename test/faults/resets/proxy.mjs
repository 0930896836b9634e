import { connect, createServer } from 'node:net'

/**
 * When a reset happens, once it is due.
 *
 * - `any`: at once, to any connection
 * - `unsent`: with the next chunk of a client, which the server never gets
 * - `unanswered`: with the next chunk of a client, which the server does get; its answer is lost
 * - `beside`: with the next answer of the server, to another connection of the same process, which hears of it in the
 *   very turn of its event loop in which that answer has it go on
 *
 * @typedef {'any' | 'unsent' | 'unanswered' | 'beside'} Kind
 *
 * @typedef {{ client: import('node:net').Socket, upstream: import('node:net').Socket }} Connection
 */

/** @type {Readonly<Record<Kind, number>>} */
const weights = { any: 25, unsent: 15, unanswered: 20, beside: 40 }

/**
 * A TCP proxy in front of the server that resets connections (RST) at random moments, as a network does that has lost
 * them.
 *
 * @param {object} parts
 * @param {number} parts.port of the server on this machine
 * @param {number} parts.perSecond resets that become due, on average
 * @param {import('../random.mjs').Random} parts.random
 */
export async function startResetProxy({ port: target, perSecond, random }) {
  /** @type {Set<Connection>} */
  const connections = new Set()
  /** @type {Map<Kind, number>} */
  const done = new Map()
  /** @type {Kind | null} */
  let due = null
  /** @type {NodeJS.Timeout | undefined} */
  let timer
  let isCalm = true

  const server = createServer({ noDelay: true }, (client) => {
    const upstream = connect({ port: target, host: '127.0.0.1', noDelay: true })
    const connection = { client, upstream }
    connections.add(connection)
    for (const socket of [client, upstream]) {
      socket.on('error', () => {})
      socket.on('close', () => {
        connections.delete(connection)
        client.destroy()
        upstream.destroy()
      })
    }
    client.on('data', (chunk) => {
      if (due === 'unsent') return reset(connection, due)
      if (due !== 'unanswered') return void upstream.write(chunk)
      // The server is to have it: its side ends only when it is out.
      upstream.end(chunk)
      connections.delete(connection)
      client.removeAllListeners('close')
      reset(connection, due, false)
    })
    upstream.on('data', (chunk) => {
      const other = due === 'beside' ? another(connection) : undefined
      if (other !== undefined) reset(other, 'beside')
      client.write(chunk)
    })
  })

  /** @param {Connection} connection */
  function another(connection) {
    const others = [...connections].filter((one) => one !== connection)
    return others.length === 0 ? undefined : random.pick(others)
  }

  /** @param {Connection} connection @param {Kind} kind */
  function reset({ client, upstream }, kind, both = true) {
    due = null
    done.set(kind, (done.get(kind) ?? 0) + 1)
    client.resetAndDestroy()
    if (both) upstream.resetAndDestroy()
  }

  function schedule() {
    if (isCalm) return
    const ms = (-Math.log(1 - random.next()) * 1_000) / perSecond
    timer = setTimeout(() => {
      due = random.weighted(weights)
      if (due === 'any' && connections.size > 0) reset(random.pick([...connections]), 'any')
      schedule()
    }, ms)
  }

  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port')
  const { port } = address

  return {
    port,
    done,
    /** From now on it resets. */
    begin() {
      isCalm = false
      schedule()
    },
    /** No more resets. */
    calm() {
      isCalm = true
      due = null
      clearTimeout(timer)
    },
    async close() {
      clearTimeout(timer)
      for (const { client, upstream } of connections) {
        client.destroy()
        upstream.destroy()
      }
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** @typedef {Awaited<ReturnType<typeof startResetProxy>>} ResetProxy */
