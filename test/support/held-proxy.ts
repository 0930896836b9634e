import { connect, createServer, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'
import type { TestDatabase } from './database.js'

/** The test's connection string, through a port of this machine. */
export function at(db: TestDatabase, port: number): string {
  const url = new URL(db.connectionString)
  url.hostname = '127.0.0.1'
  url.port = String(port)
  return url.href
}

/** A TCP proxy that shows what clients have sent, and holds answers back. */
interface HeldProxy {
  readonly connectionString: string
  /** Resolves when clients have sent chunks with that text so many times, from now on. */
  untilSent(text: string, times?: number): Promise<void>
  /** Resolves when a connection has sent that text. From then on this connection gets no answers. */
  holdAnswersTo(text: string): Promise<void>
  /** From now on no connection gets an answer. */
  silence(): void
  /** Delivers all answers that were held, and holds none from now on. */
  release(): void
}

/** Starts such a proxy in front of the test's server. It ends with the test. */
export async function heldProxy(db: TestDatabase): Promise<HeldProxy> {
  const target = new URL(db.connectionString)
  const sockets = new Set<Socket>()
  const watches = new Set<(chunk: Buffer, hold: () => void) => void>()
  const holds = new Set<() => void>()
  let isSilent = false

  function keep(socket: Socket): void {
    sockets.add(socket)
    socket.on('error', () => socket.destroy())
    socket.on('close', () => sockets.delete(socket))
  }

  const server = createServer((client) => {
    const upstream = connect({ host: target.hostname, port: Number(target.port) })
    keep(client)
    keep(upstream)
    let isHeld = false
    const answers: Buffer[] = []
    function hold(): void {
      isHeld = true
    }
    holds.add(() => {
      isHeld = false
      for (const answer of answers.splice(0)) client.write(answer)
    })
    client.on('data', (chunk) => {
      for (const watch of watches) watch(chunk, hold)
      upstream.write(chunk)
    })
    upstream.on('data', (chunk) => {
      if (isHeld || isSilent) answers.push(chunk)
      else client.write(chunk)
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
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port')

  function watchFor(text: string, times: number, onSent: (hold: () => void) => void): Promise<void> {
    let left = times
    return new Promise((resolve) => {
      function watch(chunk: Buffer, hold: () => void): void {
        if (!chunk.includes(text)) return
        onSent(hold)
        left -= 1
        if (left > 0) return
        watches.delete(watch)
        resolve()
      }
      watches.add(watch)
    })
  }

  return {
    connectionString: at(db, address.port),
    untilSent: (text, times = 1) => watchFor(text, times, () => {}),
    holdAnswersTo: (text) => watchFor(text, 1, (hold) => hold()),
    silence() {
      isSilent = true
    },
    release() {
      isSilent = false
      for (const release of holds) release()
    },
  }
}
