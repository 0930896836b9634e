import { connect, createServer, type Socket } from 'node:net'
import { tlsEnd } from './tls-end.js'

interface Target {
  readonly host: string
  readonly port: number
}

/** A TCP proxy in front of the server, which can fall silent without closing anything, and move to another server. */
export interface Proxy {
  readonly port: number
  /** Connections that have been made through it. */
  readonly connections: number
  /** Of those, how many clients have not closed, and we have not cut. */
  readonly open: number
  /** Chunks that clients have sent through it. */
  readonly sent: number
  /** Stop forwarding, both ways; connections stay open, new ones are accepted and get no answer. */
  freeze(): void
  /** Forward no more for the connections that exist, as a firewall that has lost its table; new ones are well. */
  forget(): void
  /** Cut all connections and refuse new ones, as a server that is down. */
  refuse(): Promise<void>
  /** Reset all connections, as a firewall or a crashed machine does; new ones are well. */
  reset(): void
  /** Accept connections and close them at once, as a forward without anybody behind it. */
  drop(): void
  /** New connections lead there; those that exist stay where they are. */
  moveTo(target: Target): void
  /** Cut the frozen connections, listen again, and forward again. */
  heal(): Promise<void>
  close(): Promise<void>
}

/** @param options - `tls`: it grants TLS to clients, which must ask for it, and speaks plainly to the server */
export async function startProxy(first: Target, options: { tls?: boolean } = {}): Promise<Proxy> {
  let target = first
  const sockets = new Set<Socket>()
  let frozen = false
  let dropping = false
  let generation = 0
  let connections = 0
  let open = 0
  let sent = 0

  function keep(socket: Socket): void {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => socket.destroy())
  }

  const server = createServer((client) => {
    connections += 1
    open += 1
    client.on('close', () => {
      open -= 1
    })
    keep(client)
    if (dropping) return void client.end()
    // Read and dropped, so that its end is seen.
    if (frozen) return void client.resume()
    if (!options.tls) return forward(client)
    void tlsEnd(client).then((plain) => {
      plain.on('error', () => client.destroy())
      forward(plain)
    })
  })

  function forward(client: Socket): void {
    const born = generation
    const isSilent = (): boolean => frozen || born !== generation
    const upstream = connect(target)
    keep(upstream)
    // 'data' handlers, and not pipe: a frozen proxy reads on and drops, as a dead network does.
    client.on('data', (chunk) => {
      if (isSilent()) return
      sent += 1
      upstream.write(chunk)
    })
    upstream.on('data', (chunk) => {
      if (!isSilent()) client.write(chunk)
    })
    client.on('close', () => upstream.destroy())
    upstream.on('close', () => client.destroy())
  }

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port')

  const { port } = address

  async function stop(): Promise<void> {
    for (const socket of sockets) socket.destroy()
    if (server.listening) await new Promise((resolve) => server.close(resolve))
  }

  return {
    port,
    get connections() {
      return connections
    },
    get open() {
      return open
    },
    get sent() {
      return sent
    },
    freeze() {
      frozen = true
    },
    forget() {
      generation += 1
    },
    refuse: stop,
    reset() {
      for (const socket of sockets) socket.resetAndDestroy()
    },
    drop() {
      dropping = true
      for (const socket of sockets) socket.destroy()
    },
    moveTo(next) {
      target = next
    },
    async heal() {
      frozen = false
      dropping = false
      for (const socket of sockets) socket.destroy()
      if (!server.listening) await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
    },
    close: stop,
  }
}
