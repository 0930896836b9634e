import { connect, createServer } from 'node:net'

/** So short a look ahead that a small answer is not late by more. */
const everyMs = 10

/**
 * A TCP proxy in front of the server whose answers take their time: so many bytes a second, of all connections
 * together. What clients send is not held back.
 *
 * @param {string} target a connection string
 * @param {number} bytesPerSecond
 */
export async function startSlowProxy(target, bytesPerSecond) {
  const { hostname: host, port } = new URL(target)
  /** @type {Set<import('node:net').Socket>} */
  const sockets = new Set()
  /** Answers that wait, in their order. @type {{ client: import('node:net').Socket, chunk: Buffer }[]} */
  const waiting = []
  let budget = 0

  const pump = setInterval(() => {
    // What nobody used is gone: a link saves nothing up.
    budget = Math.min(budget, 0) + (bytesPerSecond * everyMs) / 1_000
    while (budget > 0 && waiting.length > 0) {
      const next = waiting.shift()
      if (next === undefined || next.client.destroyed) continue
      next.client.write(next.chunk)
      budget -= next.chunk.length
    }
  }, everyMs)

  /** @param {import('node:net').Socket} socket @param {import('node:net').Socket} other */
  function keep(socket, other) {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => {
      sockets.delete(socket)
      other.destroy()
    })
  }

  const server = createServer((client) => {
    const upstream = connect({ host, port: Number(port) })
    keep(client, upstream)
    keep(upstream, client)
    client.on('data', (chunk) => void upstream.write(chunk))
    upstream.on('data', (chunk) => void waiting.push({ client, chunk }))
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port')
  const url = new URL(target)
  url.hostname = '127.0.0.1'
  url.port = String(address.port)

  return {
    url: url.href,
    async close() {
      clearInterval(pump)
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
