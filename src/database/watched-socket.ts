import { Socket } from 'node:net'
import type { Host } from './connection.js'

/**
 * A socket that tells of its end in the very turn in which it is destroyed, whoever does it and why.
 *
 * The events come later: 'error' after the turn, 'close' in the next round of the event loop. Until then the driver
 * takes the connection for a good one. Nor can the end be listened for: the driver removes all listeners of a socket
 * that it puts TLS on. A TLS socket that ends destroys the one beneath it in the same turn.
 */
export class WatchedSocket extends Socket {
  readonly #onGone: (error: Error | null) => void

  /** @param onGone - called once; the error with which it was destroyed, if with any */
  constructor(onGone: (error: Error | null) => void) {
    super()
    this.#onGone = onGone
  }

  /**
   * Destroy it, and first the TLS socket that the driver may have put on it, to which nobody else has a way.
   *
   * That one listens for our `close`, which comes in the next round of the event loop. What the driver writes until
   * then would fail, and the TLS socket would emit `close` before the error. By then the driver has removed its
   * listeners, and an error without a listener ends the process. A destroyed socket takes writes in silence.
   *
   * Only the first time. Where this socket is destroyed, the TLS socket has mostly done it, as after a certificate that
   * was refused; its memory is freed at our `close`, and freed too soon it ends the process.
   */
  abandon(): void {
    if (this.destroyed) return
    this.emit('close')
    this.destroy()
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#onGone(error)
    super._destroy(error, callback)
  }
}

/** It is connecting still: what is written waits. */
export function openSocket({ host, port }: Host, onGone: (error: Error | null) => void): WatchedSocket {
  const socket = new WatchedSocket(onGone)
  // An error at once comes before the driver listens for it.
  socket.on('error', () => {})
  // No answer can follow the other side's end, so nothing more should be sent.
  socket.on('end', () => socket.destroy())
  // For the name that TLS checks, and for the driver's messages.
  Object.assign(socket, { host, port })
  if (host.startsWith('/')) socket.connect({ path: `${host}/.s.PGSQL.${port}` })
  else socket.connect({ host, port, noDelay: true })
  return socket
}
