import { connect, createServer, type Socket } from 'node:net'

/** A proxy in front of the server that counts round trips. */
interface Rounds {
  readonly port: number
  /** Since it was started. */
  readonly count: number
  close(): Promise<void>
}

/** Nothing has come either way for so long: each answer is here, and what it leads to is sent. */
const quietMs = 20
/** The message by which a client takes leave. It waits for no answer. */
const farewell = Buffer.from([0x58, 0, 0, 0, 4])

/**
 * What clients send waits, on whatever connection, until nobody has anything more to send without an answer. Then all
 * of it goes on together: one round trip. So connections that are side by side share their round trips, as on a link
 * that is slow. What is counted is no time: a slow machine may at most count a round trip twice, where it was silent in
 * the middle of one.
 *
 * The opening of a TCP connection is not counted.
 */
export async function startRounds(target: { host: string; port: number }): Promise<Rounds> {
  const sockets = new Set<Socket>()
  let waiting: { upstream: Socket; chunk: Buffer }[] = []
  let count = 0
  let timer: NodeJS.Timeout | undefined

  function moved(): void {
    clearTimeout(timer)
    timer = setTimeout(letThrough, quietMs)
  }

  function letThrough(): void {
    if (waiting.length === 0) return
    count += 1
    for (const { upstream, chunk } of waiting.splice(0)) upstream.write(chunk)
  }

  function keep(socket: Socket, other: Socket): void {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => {
      sockets.delete(socket)
      waiting = waiting.filter(({ upstream }) => upstream !== socket)
      other.destroy()
    })
  }

  const server = createServer((client) => {
    const upstream = connect(target)
    keep(client, upstream)
    keep(upstream, client)
    client.on('data', (chunk) => {
      if (chunk.equals(farewell)) return void upstream.write(chunk)
      waiting.push({ upstream, chunk })
      moved()
    })
    upstream.on('data', (chunk) => {
      client.write(chunk)
      moved()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port')
  return {
    port: address.port,
    get count() {
      return count
    },
    async close() {
      clearTimeout(timer)
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
