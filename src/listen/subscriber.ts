import { Socket } from 'node:net'
import type { SessionFields } from '../database/driver.js'
import { inPlaceOfVariables } from '../database/driver-options.js'
import { deadline, whileAlive } from '../deadline.js'
import { toError } from '../errors.js'

/**
 * One life of a LISTEN connection: from connect to loss, never beyond.
 *
 * pg-listen can reconnect by itself, but is deaf for good after some kinds of failure, leaks a connection when it is
 * closed while it reconnects, and hangs in `close` on a half-open socket. So it is told not to (`retryLimit: 1`), its
 * socket is ours, and the listener builds a new one after each loss.
 */
export interface Subscriber {
  /** End it at once, also when the other side is silent. */
  close(): void
}

interface SubscriberOptions {
  readonly config: SessionFields
  readonly channels: readonly string[]
  /** For each answer. */
  readonly answerMs: number
  readonly onNotification: (channel: string, payload: string) => void
  /** Called once at most, and not after `close`. */
  readonly onLost: (error: Error) => void
}

/** Nobody can listen in this process, however often it is tried. The message says what to do. */
export class NotLoadedError extends Error {
  override name = 'NotLoadedError'
  constructor(cause: unknown) {
    const message = `pg-listen cannot be loaded (${toError(cause).message.split('\n', 1)})`
    super(`${message}: leave it out of the bundle (external), and install it beside it`, { cause })
  }
}

/**
 * Not loaded at import: one of its dependencies reads a file beside itself, which a bundle does not have. The rest of
 * the library works there.
 */
async function loadPgListen() {
  try {
    return (await import('pg-listen')).default
  } catch (error) {
    throw new NotLoadedError(error)
  }
}

/**
 * Connect and listen.
 *
 * @returns when LISTEN is committed for all channels: whoever looks now misses nothing
 * @throws the driver's error, or NotLoadedError; nothing stays open then
 */
export async function openSubscriber(options: SubscriberOptions): Promise<Subscriber> {
  const { config, channels, answerMs, onNotification, onLost } = options
  const createPgListen = await loadPgListen()
  const socket = new Socket()
  let over = false

  const subscriber = createPgListen.default(
    {
      ...inPlaceOfVariables(),
      ...config,
      // pg takes a factory for its socket; pg-listen's types know an older pg.
      ...{ stream: () => socket },
      query_timeout: answerMs,
    },
    {
      retryLimit: 1,
      paranoidChecking: false, // our own ping goes the whole way, see ping.ts
      parse: (text) => text, // the payload is a queue's name, not JSON
    },
  )

  function close(): void {
    over = true
    // Destroyed first: pg-listen's close sends a farewell, and would wait for a silent server to take it.
    socket.destroy()
    subscriber.close().catch(() => {})
  }

  function lost(error: unknown): void {
    if (over) return
    close()
    onLost(toError(error))
  }

  // Attached before connecting: pg-listen's events are Node's, and an 'error' without a listener ends the process.
  let failed: (error: unknown) => void = lost
  const failing = new Promise<never>((_, reject) => {
    failed = reject
  })
  failing.catch(() => {})
  subscriber.events.on('error', (error) => failed(error))
  subscriber.events.on('notification', ({ channel, payload }) => onNotification(channel, payload))

  try {
    const connected = whileAlive(subscriber.connect(), answerMs, 'connecting to listen', () => socket.bytesRead)
    await Promise.race([failing, connected])
    // One after the other: pg wants one query at a time.
    for (const channel of channels) {
      await Promise.race([failing, deadline(Promise.resolve(subscriber.listenTo(channel)), answerMs, 'LISTEN')])
    }
  } catch (error) {
    close()
    throw error
  }
  failed = lost
  return { close }
}
