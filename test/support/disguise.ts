import { connect, createServer, type Socket } from 'node:net'
import type postgres from 'postgres'

/**
 * A way to the test's server behind which that seems to be another one: on another timeline, or a standby. What it
 * tells of itself is exchanged on its way to the client; everything else is as it is.
 */
export interface Disguise {
  readonly port: number
  /** Clients that are connected. */
  readonly open: number
  /** From the next connection on; of several, each connection another one, in turns. */
  seem(...as: readonly Seeming[]): void
  /** Cut those that exist. */
  cut(): void
  close(): Promise<void>
}

interface Seeming {
  /** 1 to 9; default: the server's own. */
  readonly timeline?: number
  readonly standby?: boolean
  /** The first digit of another system's identifier. */
  readonly system?: string
}

export async function startDisguise(sql: postgres.Sql, target: URL, first: Seeming = {}): Promise<Disguise> {
  const [row] = await sql<{ identity: string }[]>`
    select (select system_identifier from pg_control_system()) || '/' ||
      substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) as identity`
  const identity = Buffer.from(row?.identity ?? '')
  const sockets = new Set<Socket>()
  let turns: readonly Seeming[] = [first]
  let turn = 0
  let open = 0

  /** In a row of the statement `state_identified` the one letter of `standby`, and the length, come before it. */
  function exchanged(chunk: Buffer, { timeline, standby, system }: Seeming): Buffer {
    const at = chunk.indexOf(identity)
    if (at === -1) return chunk
    const copy = Buffer.from(chunk)
    if (timeline !== undefined) copy.write(String(timeline), at + identity.length - 1)
    if (system !== undefined) copy.write(system, at)
    if (standby === true) copy.write('t', at - 5)
    return copy
  }

  const server = createServer((client) => {
    const as = turns[turn % turns.length] ?? first
    turn += 1
    const upstream = connect(Number(target.port), target.hostname)
    open += 1
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('close', () => sockets.delete(socket))
      socket.on('error', () => socket.destroy())
    }
    client.on('data', (chunk) => upstream.write(chunk))
    upstream.on('data', (chunk) => client.write(exchanged(chunk, as)))
    client.on('close', () => {
      open -= 1
      upstream.destroy()
    })
    upstream.on('close', () => client.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')

  function cut(): void {
    for (const socket of sockets) socket.destroy()
  }

  return {
    port: address.port,
    get open() {
      return open
    },
    seem(...as) {
      turns = as
    },
    cut,
    async close() {
      cut()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
