import createDebug from 'debug'
import type pg from 'pg'
import { toError } from '../errors.js'
import type { ListenerHealth } from '../events.js'
import { createPing } from './ping.js'
import { openSubscriber, type Subscriber } from './subscriber.js'

const log = createDebug('bugle:listener')

/**
 * The process's one listener, whatever the number of its consumers.
 *
 * Its health is what has been proven, not what is hoped: `live` only after an echo of our own came back through the
 * server, and only as long as the next ones do. A connection that is up but deaf (a pooler that swallowed the LISTEN,
 * a half-open socket) is therefore `polling`, and replaced.
 *
 * LISTEN first, then catch up: `onLive` is called each time after LISTEN is committed and proven, and whoever claims
 * then sees all that was committed in between.
 * @see https://www.postgresql.org/docs/current/sql-listen.html
 */
export interface Listener {
  readonly health: ListenerHealth
  /** Resolves when it is first known whether we are live; it goes on trying by itself. */
  start(): Promise<void>
  stop(): void
}

export interface ListenerOptions {
  /** The fields of a session with the server that takes our jobs. */
  readonly connect: () => Promise<pg.ClientConfig>
  readonly channel: () => Promise<string>
  /** A channel that nobody else uses. */
  readonly pingChannel: string
  /** NOTIFY by another connection than the listener's: a pooler would echo its own. */
  readonly sendPing: (channel: string, mark: string) => Promise<void>
  readonly onNotification: (queue: string) => void
  readonly onLive: () => void
  readonly onHealth: (from: ListenerHealth, to: ListenerHealth) => void
  readonly random: () => number
}

const reconnectMs = { least: 100, most: 5_000 } as const

export function createListener(options: ListenerOptions): Listener {
  const { pingChannel, onNotification, onLive, onHealth, random } = options
  let health: ListenerHealth = 'connecting'
  let subscriber: Subscriber | null = null
  let stopped = false
  let failures = 0
  let retry: NodeJS.Timeout | undefined

  const ping = createPing({
    send: (mark) => options.sendPing(pingChannel, mark),
    onEcho: () => become('live'),
    onSilence: (error) => lost(error),
    random,
  })

  function become(next: ListenerHealth): void {
    if (health === next || health === 'stopped') return
    const from = health
    health = next
    log('%s -> %s', from, next)
    onHealth(from, next)
    if (next === 'live') {
      failures = 0
      onLive()
    }
  }

  async function connect(): Promise<void> {
    try {
      const config = await options.connect()
      const channel = await options.channel()
      const opened = await openSubscriber({
        config,
        channels: [channel, pingChannel],
        onNotification: (name, payload) => {
          if (name === channel) onNotification(payload)
          else ping.echoed(payload)
        },
        onLost: lost,
      })
      if (stopped) return opened.close()
      subscriber = opened
      await ping.start()
    } catch (error) {
      lost(toError(error))
    }
  }

  function lost(error: Error): void {
    if (stopped) return
    log('lost: %s', error.message)
    ping.stop()
    subscriber?.close()
    subscriber = null
    become('polling')
    const waitMs = Math.min(reconnectMs.least * 2 ** failures, reconnectMs.most) * (0.5 + random())
    failures += 1
    clearTimeout(retry)
    retry = setTimeout(() => void connect(), waitMs)
  }

  return {
    get health() {
      return health
    },
    start: connect,
    stop() {
      stopped = true
      clearTimeout(retry)
      ping.stop()
      subscriber?.close()
      subscriber = null
      become('stopped')
    },
  }
}
