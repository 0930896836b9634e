import createDebug from 'debug'
import { backoff, jitter } from '../backoff.js'
import { SharedSessionsError } from '../database/apart.js'
import type { SessionFields } from '../database/driver.js'
import { createLink, type Link } from '../database/link.js'
import { toError } from '../errors.js'
import type { ListenerHealth } from '../events.js'
import { createPing, type Silence } from './ping.js'
import { NotLoadedError, openSubscriber, type Subscriber } from './subscriber.js'

const log = createDebug('bugle:listener')

/**
 * The process's one listener, whatever the number of its consumers.
 *
 * Its health is what has been proven, not what is hoped: `live` only after an echo of our own came back through the
 * server, and only as long as the next ones do. A connection that is up but deaf (a pooler that swallowed the LISTEN,
 * a half-open socket) is therefore `polling`, and replaced.
 *
 * Deaf is said of a way, not of a moment: LISTEN was answered, a ping was committed after that, and no echo of it came
 * on a connection that had none before; or its sessions were seen to be shared with others. One that was live before
 * and falls silent is only lost. Deaf is reported once, until we are live again. It is tried again less and less
 * often, since each LISTEN through a pooler stays on one of its connections.
 *
 * The channel is named after the job table's oid, so tables that were made anew (dropped and migrated, restored) notify
 * on another one. Each ping's answer says which it is now, and so do heartbeats (`tablesAre`); where it is not the one
 * that is listened to, the listener is lost, and built anew.
 *
 * LISTEN first, then catch up: `onLive` is called each time after LISTEN is committed and proven, and whoever claims
 * then sees all that was committed in between. The ping's channel is the last: by a session's last statement operators,
 * and the doctor, see whose it is.
 * @see https://www.postgresql.org/docs/current/sql-listen.html
 */
export interface Listener {
  readonly health: ListenerHealth
  /** Resolves when it is first known whether we are live; it goes on trying by itself. */
  start(): Promise<void>
  /** The tables that are there now notify on that channel; null: there are none. */
  tablesAre(channel: string | null): void
  /** Build it anew, unless it is being built. */
  renew(reason: string): void
  stop(): void
}

interface ListenerOptions {
  /**
   * The way to the server that takes our jobs. Rejects with SharedSessionsError for no such way.
   *
   * @param leave - called when that is another one
   */
  readonly connect: (leave: (error: Error) => void) => Promise<ListenWay>
  /** It is an outage, in which somebody tries for all; default: never. */
  readonly isDown?: () => boolean
  /** Called when an outage has ended. @returns to be called at one's own end */
  readonly onUp: (listener: () => void) => () => void
  readonly channel: () => Promise<Channels>
  /** A channel that nobody else uses. Asked for with each connection. */
  readonly pingChannel: () => string
  /**
   * NOTIFY by another connection than the listener's: a pooler would echo its own.
   *
   * @returns the channel of the tables that are there now; null: there are none
   */
  readonly sendPing: (channel: string, mark: string) => Promise<string | null>
  readonly onNotification: (queue: string) => void
  /** A running job's cancel was requested; the worker is any that listens, perhaps not ours. */
  readonly onCancel: (workerId: string, jobId: string) => void
  readonly onLive: () => void
  /** `reason`: a whole sentence for an operator, which says what to do. */
  readonly onDeaf: (reason: string) => void
  readonly onHealth: (from: ListenerHealth, to: ListenerHealth) => void
  /** How patient to be on this way; default: as on a good one. */
  readonly link?: Pick<Link, 'patienceMs' | 'connectMs'>
  readonly random: () => number
}

/** By which to connect, and then to listen. */
export interface ListenWay {
  readonly config: SessionFields
  /** To be called when it is used no more. */
  readonly left: () => void
}

/** As a row of the statement `channel` has them. */
export interface Channels {
  readonly channel: string
  /** null: cancels are not listened to. */
  readonly cancelChannel: string | null
}

const answerMs = 5_000
const reconnectMs = { least: 100, most: 5_000 } as const
const reconnectDeafMs = { least: 100, most: 30_000 } as const
/** Between two looks whether an outage, in which somebody tries for all, is over. */
const downMs = 5_000
const unlessDirect = 'give a direct connection as listenConnectionString'

export function createListener(options: ListenerOptions): Listener {
  const { onNotification, onCancel, onLive, onHealth, onDeaf, random } = options
  const link = options.link ?? createLink(() => performance.now())
  let health: ListenerHealth = 'connecting'
  let subscriber: Subscriber | null = null
  /** What it listens to, or is about to. */
  let channels: (Channels & { readonly pingChannel: string }) | null = null
  let stopped = false
  let failures = 0
  let isDeaf = false
  let retry: NodeJS.Timeout | null = null
  let way: ListenWay | null = null
  /** One that was lost in the middle goes on to its end, and then counts no more. */
  let attempt = 0

  const ping = createPing({
    send: async (mark) => {
      if (channels !== null) tablesAre(await options.sendPing(channels.pingChannel, mark))
    },
    onEcho: () => become('live'),
    onSilence: silent,
    patienceMs: link.patienceMs,
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
      isDeaf = false
      onLive()
    }
  }

  function silent(error: Error, silence: Silence): void {
    if (silence === 'unheard' && health !== 'live') {
      const what = `LISTEN was answered, but notifications do not arrive (${error.message})`
      deaf(`${what}: it seems to go through a pooler; ${unlessDirect}`)
    }
    lost(error)
  }

  function deaf(what: string): void {
    if (isDeaf || stopped) return
    isDeaf = true
    onDeaf(`${what}. Until then jobs are found by sweeps, every second`)
  }

  async function connect(): Promise<void> {
    stopWaiting()
    attempt += 1
    const mine = attempt
    const isOver = (): boolean => stopped || mine !== attempt
    try {
      const found = await options.connect((error) => {
        if (!isOver()) lost(error)
      })
      if (isOver()) return found.left()
      way = found
      const { channel, cancelChannel } = await options.channel()
      const pingChannel = options.pingChannel()
      channels = { channel, cancelChannel, pingChannel }
      const opened = await openSubscriber({
        config: found.config,
        channels: [channel, cancelChannel, pingChannel].filter((one) => one !== null),
        answerMs: link.connectMs(link.patienceMs(answerMs)),
        onNotification: (name, payload) => {
          if (name === channel) onNotification(payload)
          else if (name === cancelChannel) cancelled(payload)
          else ping.echoed(payload)
        },
        onLost: lost,
      })
      if (isOver()) return opened.close()
      subscriber = opened
      await ping.start()
    } catch (error) {
      if (isOver()) return
      if (error instanceof SharedSessionsError) deaf(`${error.message}; ${unlessDirect}`)
      if (error instanceof NotLoadedError) deaf(error.message)
      lost(toError(error))
    }
  }

  /** The payload of trigger job_cancel: worker and job. */
  function cancelled(payload: string): void {
    const [workerId, jobId] = payload.split(' ')
    if (workerId !== undefined && jobId !== undefined) onCancel(workerId, jobId)
  }

  function tablesAre(channel: string | null): void {
    if (channel !== null && channels !== null && channel !== channels.channel) {
      renew(`the tables were made anew: ${channels.channel} is now ${channel}`)
    }
  }

  function renew(reason: string): void {
    if (subscriber !== null) lost(new Error(reason))
  }

  function lost(error: Error): void {
    if (stopped) return
    log('lost: %s', error.message)
    close()
    become('polling')
    connectIn(backoff(isDeaf ? reconnectDeafMs : reconnectMs, failures, random))
    failures += 1
  }

  function connectIn(ms: number): void {
    stopWaiting()
    const again = (): void => {
      if (options.isDown?.()) connectIn(jitter(downMs, 0.5, 1.5, random))
      else void connect()
    }
    retry = setTimeout(again, ms)
  }

  function close(): void {
    attempt += 1
    ping.stop()
    subscriber?.close()
    subscriber = null
    way?.left()
    way = null
  }

  function stopWaiting(): void {
    if (retry !== null) clearTimeout(retry)
    retry = null
  }

  const ignoreUp = options.onUp(() => {
    if (retry !== null && !isDeaf) void connect()
  })

  return {
    get health() {
      return health
    },
    start: connect,
    tablesAre,
    renew,
    stop() {
      stopped = true
      ignoreUp()
      stopWaiting()
      close()
      become('stopped')
    },
  }
}
