import { connect, createServer, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'
import type { Bugle } from '../../src/index.js'
import { signal } from './signal.js'

/** A way to the server on which the answers of claims stay until the test lets them go on, one by one. */
export interface HeldClaims {
  /** Of the way. */
  readonly connectionString: string
  /** From now on this worker's claims of this queue are held. */
  hold(bugle: Pick<Bugle, 'workerId'>, queue: string): void
  /**
   * Resolves when the next one has come back from the server, its transaction included: what it saw and took stands.
   */
  next(): Promise<HeldClaim>
  /** Those to come are held no more. */
  open(): void
}

export interface HeldClaim {
  /** The consumer hears of it. */
  answer(): void
}

/** @param direct - a connection string without TLS */
export async function holdAnswers(direct: string): Promise<HeldClaims> {
  const target = new URL(direct)
  const sockets = new Set<Socket>()
  const arrived: HeldClaim[] = []
  let hasArrived = signal()
  let isClaim = (_sent: Buffer): boolean => false

  const server = createServer((client) => {
    const upstream = connect({ host: target.hostname, port: Number(target.port) })
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => socket.destroy())
    }
    /** null: nothing is held. */
    let held: Buffer | null = null
    client.on('data', (chunk) => {
      if (isClaim(chunk)) held = Buffer.alloc(0)
      upstream.write(chunk)
    })
    upstream.on('data', (chunk) => {
      if (held === null) return void client.write(chunk)
      held = Buffer.concat([held, chunk])
      if (!held.subarray(-readyForQuery.length).equals(readyForQuery)) return
      arrived.push({
        answer() {
          if (held !== null) client.write(held)
          held = null
        },
      })
      hasArrived.resolve()
    })
    client.on('close', () => upstream.destroy())
    upstream.on('close', () => client.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the way to the server has no port')
  const way = new URL(direct)
  way.hostname = '127.0.0.1'
  way.port = String(address.port)

  return {
    connectionString: way.href,
    hold(bugle, queue) {
      // No other statement has both as values.
      isClaim = (sent) => sent.includes(boundValue(queue)) && sent.includes(boundValue(bugle.workerId))
    },
    async next() {
      for (;;) {
        const claim = arrived.shift()
        if (claim !== undefined) return claim
        hasArrived = signal()
        await hasArrived.promise
      }
    },
    open() {
      isClaim = () => false
    },
  }
}

/** ReadyForQuery, outside of a transaction. */
const readyForQuery = Buffer.from([0x5a, 0, 0, 0, 5, 0x49])

/** As a Bind message has it. */
function boundValue(text: string): Buffer {
  const value = Buffer.from(text)
  const length = Buffer.alloc(4)
  length.writeInt32BE(value.length)
  return Buffer.concat([length, value])
}
