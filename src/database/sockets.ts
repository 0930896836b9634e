import { setMaxListeners } from 'node:events'
import { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Host } from './connection.js'

/**
 * The sockets of one postgres.js instance: opened, slowed down and in the end destroyed by us, since of its own ones
 *
 * - a server that accepts and closes (a forward with nobody behind it) is connected to again at once, thousands of
 *   times a second, for as long as there is a statement to be sent;
 * - the end says farewell and waits for the other side to close: with a silent one the socket stays, and the process.
 */
interface Sockets {
  /**
   * postgres.js's option `socket`. It may be connecting still: what is written waits. Never rejects, which would cost a
   * place.
   */
  open(): Promise<Socket>
  /** A statement was answered: whatever is lost from now on is no failure to connect. */
  answered(): void
  /** Whether there is one, connected or not. */
  readonly isUsed: boolean
  /** Destroy all, and open no more. */
  destroy(): void
}

const backOffMs = { least: 50, most: 1_000 } as const

export function createSockets({ host, port }: Host, random: () => number): Sockets {
  // Looked through, and not listened to: postgres.js removes the listeners of a socket that it puts TLS on.
  let opened: { readonly socket: Socket; hasServed: boolean }[] = []
  const ending = new AbortController()
  // Each connection that is being opened waits by it, and a pool may open hundreds at once.
  setMaxListeners(0, ending.signal)
  let failures = 0

  /** How long to wait before the next: not at all where those before have served. */
  function backOff(): number {
    const gone = opened.filter(({ socket }) => socket.destroyed)
    opened = opened.filter(({ socket }) => !socket.destroyed)
    failures += gone.filter(({ hasServed }) => !hasServed).length
    if (failures === 0) return 0
    return Math.min(backOffMs.least * 2 ** (failures - 1), backOffMs.most) * (0.5 + random())
  }

  return {
    async open() {
      // Waited for in any case: an error at once would come before postgres.js listens for it.
      await sleep(backOff(), undefined, { signal: ending.signal }).catch(() => {})
      // The connection that waits for it is ended; a socket would only be opened, and nobody would close it.
      if (ending.signal.aborted) return new Promise<never>(() => {})
      const socket = new Socket()
      opened.push({ socket, hasServed: false })
      const isPath = host.startsWith('/')
      // For the name that TLS checks, and for postgres.js's messages.
      Object.assign(socket, { host, port })
      if (isPath) socket.connect({ path: `${host}/.s.PGSQL.${port}` })
      else socket.connect({ host, port, noDelay: true })
      return socket
    },
    answered() {
      failures = 0
      for (const entry of opened) entry.hasServed = true
    },
    get isUsed() {
      return opened.some(({ socket }) => !socket.destroyed)
    },
    destroy() {
      ending.abort()
      for (const { socket } of opened) socket.destroy()
      opened = []
    },
  }
}
