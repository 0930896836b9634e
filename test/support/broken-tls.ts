import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** A way to a server that says yes to TLS and hangs up at its first message; plain text gets through. */
export interface BrokenTls {
  readonly port: number
  /** How often TLS was asked for. */
  readonly asked: number
  close(): Promise<void>
}

/** The length of the message that asks for TLS. The one that begins a session is longer. */
const sslRequestBytes = 8

export async function startBrokenTls(target: URL): Promise<BrokenTls> {
  let asked = 0
  const sockets = new Set<Socket>()

  function keep(socket: Socket): void {
    sockets.add(socket)
    socket.on('error', () => socket.destroy())
  }

  const server = createServer((client) => {
    keep(client)
    client.once('data', (first) => {
      if (first.length === sslRequestBytes) {
        asked += 1
        client.write('S')
        client.once('data', () => client.destroy())
        return
      }
      const upstream = connect(Number(target.port), target.hostname)
      keep(upstream)
      upstream.write(first)
      client.pipe(upstream)
      upstream.pipe(client)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    get asked() {
      return asked
    },
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
