import { hostname } from 'node:os'
import createDebug from 'debug'
import {
  type ControlSession,
  controlSettings,
  createControlSession,
  type Dozers,
  SessionLostError,
} from '../database/control.js'
import type { Database } from '../database/database.js'
import type { SqlValue } from '../database/pool.js'
import type { StatementName } from '../database/statements.js'
import { deadline } from '../deadline.js'
import { toError } from '../errors.js'
import type { Events } from '../events.js'
import { createListener, type Listener } from '../listen/listener.js'
import { createNotifyQueue } from '../listen/notify-queue.js'
import { createWay, demandApartWithoutEcho } from '../listen/way.js'
import { createBlocked } from './blocked.js'
import { callOf } from './call.js'
import { createCancels } from './cancels.js'
import { type ServedQueue, sendHeartbeat } from './heartbeat.js'
import { createLag } from './lag.js'
import { type Beat, createPresence, type Presence, type RunningRow, type Word } from './presence.js'
import { createReconciler } from './reconcile.js'
import { createRescue } from './rescue.js'
import { createSweeper, type Seen, type Sweepable } from './sweep.js'
import { createTrust } from './trust.js'

const log = createDebug('bugle:worker')

/** What the worker needs to know of each consumer, and tells it. */
export interface WorkerConsumer extends Sweepable {
  /** What operators see of it; null: it is being stopped, and takes no more. */
  readonly serves: ServedQueue | null
  /** There may be jobs. */
  raise(): void
  /** The way to the database is free again. */
  hurry(): void
  notified(): void
  /** Whether a run of this process explains that row: claimed, and its outcome not durable yet. */
  knows(id: string, lease: string): boolean
  /** performance.now() when the oldest claim that is in flight was sent; null: none is. */
  readonly claimingSince: number | null
  /** The cancel of that running job was requested; called repeatedly, and for jobs that it does not run. */
  cancel(jobId: string): void
  /** The worker was given up: abort what was claimed under that id with LEASE_LOST. */
  lost(workerId: string): void
  /** Its last claim found the queue paused: it is raised when that is seen to be over. */
  readonly isQueuePaused: boolean
  /** The queue was seen paused: what it holds and has not begun, it gives back. */
  queuePaused(): void
  /** It may leave wake-ups to others that doze: then heartbeats count these. */
  readonly countsDozers: boolean
  dozersSeen(dozers: Dozers): void
}

/** A running row that this worker owns. */
interface OwnedRow {
  readonly id: string
  readonly lease: string
  readonly attempt: number
}

export interface WorkerOptions {
  /** An id that was never used. */
  readonly newId: () => string
  readonly name: string
  readonly version: string
  readonly database: Database
  readonly events: Events
  readonly listen: boolean
  readonly sweepMs: number
  readonly rescueAfterMs: number
  readonly hungAfterMs: number
  readonly maxCrashes: number
  /** Give back rows that were claimed and never run here: fenced, attempt given back. */
  readonly giveBack: (workerId: string, rows: readonly OwnedRow[]) => Promise<void>
  /** The listener hears nothing, and will not: a sentence for an operator. */
  readonly onDeaf?: (reason: string) => void
  /** Works while there are consumers. */
  readonly collector: { start(): void; stop(): Promise<void> }
  readonly random: () => number
}

/** What a worker consists of from its start to its stop. */
export interface Parts {
  readonly presence: Presence
  readonly listener: Listener | null
  /** null: `listen: false`, or the way to the server is not proven direct (yet). */
  readonly control: ControlSession | null
  /** Presence is confirmed, and the event loop runs freely. */
  readonly isOpen: boolean
  /** Claims may commit asynchronously, see trust.ts. */
  readonly isTrusted: boolean
  mayHaveCrashed(): void
  hurrySweep(): void
  /** What is consumed has changed: the row says so within moments. */
  showSoon(): void
  /** Begin to listen. That needs no row, and takes as many round trips as the row does: so it goes beside that. */
  listen(): void
  /**
   * Once the row is inserted (`presence.announce`). Resolves after the first tries to connect, whatever came of them.
   */
  start(): Promise<void>
  /** All ends but the presence, which no longer keeps the process alive. */
  linger(): Promise<void>
  /** The presence last. It never rejects. */
  stop(): Promise<void>
  /** At once, whatever is still in flight. */
  destroy(): void
}

interface PartsGiven {
  readonly id: string
  readonly newId: () => string
  /** Those that are there now; it changes. */
  readonly consumers: ReadonlySet<WorkerConsumer>
  /** It may be open again: ask. */
  readonly onOpen: () => void
}

/** A heartbeat that is not answered by then has failed, and the control session that carried it is lost. */
const heartbeatMs = 2_000
/** One is answered while the next one is on its way, and one may be lost. */
const beatsToBeSure = 4
/** A pool may have to open a connection first. */
const tripsByPool = 10
/** Changes of what is consumed that come together share a heartbeat. */
const showMs = 100

/**
 * Wires them: who is told what by whom.
 *
 * Presence is the last to go: as long as anything of ours runs, it must be seen that we live.
 *
 * The control session comes when the listener has been live for the first time: its echo proves that the way to the
 * server is direct. Through a pooler session locks would be taken on a connection that others use next, and stay there.
 *
 * While the server's queue of notifications is half full no echo comes, which may last for days; and presence must not
 * depend on that, or others would take a minute to see that this process has died. So where a ping is not sent for that
 * reason, two sessions that are seen to be apart prove the way instead. Whichever proof comes first starts the control
 * session. K is not taken before the echo. A proof that fails is tried again with the next ping.
 */
export function createParts(options: WorkerOptions, given: PartsGiven): Parts {
  const { database, events, random } = options
  const { consumers } = given
  let control: ControlSession | null = null
  let controlStarted: Promise<void> = Promise.resolve()
  let listening: Promise<void> | null = null
  /** That sessions are apart; null: it is not being proven. */
  let proving: Promise<void> | null = null
  let isLingering = false
  /** Those that share the tables, this one included, as the last heartbeat saw them. */
  let workers = 1
  let showing: NodeJS.Timeout | null = null
  const now = (): number => performance.now()

  function raiseAll(): void {
    for (const consumer of consumers) consumer.raise()
  }

  const trust = createTrust(now)
  const ignoreLoss = database.onLoss(() => trust.lost('statement'))

  // Consumers that have run dry wait for sweeps then, and a heartbeat for its time.
  const ignoreFree = database.onWayFree(() => {
    for (const consumer of consumers) consumer.hurry()
    presence.beat()
  })

  function cancel(jobId: string): void {
    for (const consumer of consumers) consumer.cancel(jobId)
  }

  /** What is the presence's own goes by the control session; without one by the pool, as long as there is one. */
  async function ask<Row extends object>(name: StatementName, parameters: readonly SqlValue[]): Promise<Row[]> {
    if (control?.isConnected) return control.query<Row>(name, parameters, heartbeatMs)
    if (isLingering) throw new SessionLostError()
    return deadline(database.query<Row>(name, parameters), database.link.patienceMs(heartbeatMs, tripsByPool), name)
  }

  const blocked = createBlocked({
    ownPid: () => control?.pid ?? null,
    blockers: async (pid) => (await database.query<{ pid: number }>('blockers', [pid])).map((row) => row.pid),
    onBlocked: (pid) => events.emit('worker:blocked', { queue: null, workerId: presence.id, pid }),
  })

  const send = (workerId: string, word: Word) =>
    blocked.watch(
      sendHeartbeat(
        ask,
        workerId,
        word,
        [...consumers].map(({ queue }) => queue),
        [...consumers].flatMap(({ serves }) => serves ?? []),
        [...consumers].flatMap(({ queue, countsDozers }) => (countsDozers ? [queue] : [])),
      ),
    )

  const presence = createPresence({
    id: given.id,
    newId: given.newId,
    word: options,
    heartbeatsMs: () => {
      const ms = database.link.patienceMs(0, beatsToBeSure)
      // What a busy moment makes of a good link is none of the others' business.
      return ms > heartbeatMs ? ms : 0
    },
    mayHoldLock: options.listen,
    isLockHeld: () => control?.isPresent ?? false,
    insert: (workerId, { rescueAfterMs, hungAfterMs }) => {
      const { name, version } = options
      return ask('worker_insert', [workerId, name, hostname(), process.pid, version, rescueAfterMs, hungAfterMs])
    },
    send,
    onBeat: (beat) => {
      workers = beat.others.length + 1
      reconcile(beat)
      for (const job of beat.running) if (job.cancelled) cancel(job.id)
      for (const one of consumers) {
        if (beat.paused.includes(one.queue)) one.queuePaused()
        else if (one.isQueuePaused) one.raise()
        const dozers = beat.dozers.get(one.queue)
        if (dozers !== undefined) one.dozersSeen(dozers)
      }
      rescue.look(beat, beat.isBack)
      tablesAre(beat.channel)
    },
    onConfirmed: () => {
      void bePresent()
      given.onOpen()
    },
    onLost: (workerId, newWorkerId) => {
      reconciler.restart()
      // Its ping channel is named after the worker, and operators look for that name.
      listener?.renew('the worker has another id')
      for (const consumer of consumers) consumer.lost(workerId)
      events.emit('worker:lost', { queue: null, workerId, newWorkerId })
    },
    now,
    random,
  })

  /**
   * Channel and locks are named after the tables' oids. Where the tables were made anew, both sessions are too; K is
   * taken again when the listener is live under the new name.
   */
  function tablesAre(channel: string | null): void {
    control?.tablesAre(channel)
    listener?.tablesAre(channel)
  }

  /** Others judge us by the shorter word as soon as they can see the lock: with the heartbeat after it. */
  async function bePresent(): Promise<void> {
    if (control === null || control.isPresent) return
    await control.bePresent()
    if (control.isPresent) presence.beat()
  }

  /**
   * A heartbeat sooner than at its time, for those who read the row. One more at any time is harmless, as after every
   * return of a session: presence sends one at a time, and the parts that judge by heartbeats (rescue, reconcile) ask
   * in what order things were seen or how long ago, never how many beats there were. Before the start and after the
   * stop it is nothing.
   */
  function showSoon(): void {
    showing ??= setTimeout(() => {
      showing = null
      presence.beat()
    }, showMs).unref()
  }

  const reconciler = createReconciler<RunningRow>({
    knows: (jobId, lease) => [...consumers].some((consumer) => consumer.knows(jobId, lease)),
    claimingSince: () =>
      [...consumers].reduce<number | null>(
        (oldest, { claimingSince }) =>
          oldest === null || claimingSince === null ? (oldest ?? claimingSince) : Math.min(oldest, claimingSince),
        null,
      ),
  })

  function reconcile({ workerId, running, answeredAt }: Beat): void {
    const rows = reconciler.look(running, answeredAt)
    if (rows.length > 0) giveBack(workerId, rows).catch((error) => log('not given back: %s', toError(error).message))
  }

  function giveBack(workerId: string, rows: readonly OwnedRow[]): Promise<void> {
    log('%s: %d rows that nothing here explains are given back', workerId, rows.length)
    return options.giveBack(workerId, rows)
  }

  const cancels = createCancels({
    look: async (ids) => {
      const rows = await database.query<{ id: string }>('cancelled', [presence.id, `{${ids.join()}}`])
      return rows.map(({ id }) => id)
    },
    cancel,
  })

  function startControl(): void {
    control = createControlSession({
      open: async () => way.take() ?? database.openSession('control', controlSettings, 'ours'),
      link: database.link,
      statements: database.statements,
      workerId: () => presence.id,
      workers: () => workers,
      isHeard: () => listener?.health === 'live',
      isDown: database.areSessionsDown,
      onUp: database.onUp,
      // A consumer that sleeps must notice that its K is void, and take it again when it can.
      onLost: () => {
        trust.lost('session')
        presence.disturbed()
        rescue.disturbed()
        raiseAll()
      },
      onRegained: () => {
        presence.beat()
        raiseAll()
      },
      onPresent: trust.present,
    })
    controlStarted = control.start().then(() => {
      presence.beat()
      raiseAll()
    })
  }

  async function startControlUnheard(): Promise<void> {
    try {
      await demandApartWithoutEcho(database)
      // The echo may have come after all, or the stop.
      if (control === null && listener?.health !== 'stopped') startControl()
    } catch (error) {
      log('without an echo the way is not proven: %s', toError(error).message)
    } finally {
      proving = null
    }
  }

  const notifyQueue = createNotifyQueue({
    database,
    onSeen: () => sweeper.hurry(),
    onMuted: () => {
      if (control === null) proving ??= startControlUnheard()
    },
  })

  const way = createWay({ database, control: () => control, name: `${options.name} listener` })

  const listener = options.listen
    ? createListener({
        connect: way.find,
        isDown: database.areSessionsDown,
        onUp: database.onUp,
        channel: way.channels,
        link: database.link,
        pingChannel: () => `bugle_ping_${presence.id}`,
        sendPing: notifyQueue.ping,
        onNotification: (queue) => {
          for (const consumer of consumers) {
            if (consumer.queue === queue) consumer.notified()
            if (callOf(consumer.queue) === queue) consumer.raise()
          }
        },
        onCancel: (workerId, jobId) => {
          if (workerId === presence.id) cancels.hinted(jobId)
        },
        onLive: () => {
          // What is caught up with is claimed with K held: after the control session's first try.
          if (control === null) return startControl()
          raiseAll()
          // The heartbeat reports the cancels whose notification was missed.
          presence.beat()
        },
        onDeaf: (reason) => options.onDeaf?.(reason),
        onHealth: (from, to) => {
          if (to !== 'live') control?.releaseAll()
          events.emit('listener:health', { queue: null, from, to })
          sweeper.hurry()
        },
        random,
      })
    : null

  const sweeper = createSweeper({
    sweepMs: options.sweepMs,
    isLive: () => listener?.health === 'live' && !notifyQueue.isFilling,
    consumers: () => [...consumers],
    look: (queues) => database.query<Seen>('sweep', [JSON.stringify(queues)]),
    random,
  })

  const lag = createLag({
    onLag: (ms) => events.emit('worker:lag', { queue: null, ms }),
    onFree: given.onOpen,
    now,
  })

  const rescue = createRescue({ ...options, random })

  /** What no run explains: nothing of ours is in flight any more. */
  async function giveBackRest(): Promise<void> {
    const { running } = await send(presence.id, options)
    const rows = running.filter((row) => ![...consumers].some((consumer) => consumer.knows(row.id, row.lease)))
    if (rows.length > 0) await giveBack(presence.id, rows)
  }

  async function endAllButPresence(): Promise<void> {
    ignoreFree()
    ignoreLoss()
    sweeper.stop()
    lag.stop()
    listener?.stop()
    await Promise.all([rescue.stop(), options.collector.stop()])
  }

  return {
    presence,
    listener,
    get isOpen() {
      return presence.isConfirmed && !lag.isLagging
    },
    get isTrusted() {
      return trust.isTrusted
    },
    mayHaveCrashed: () => trust.lost('statement'),
    hurrySweep: sweeper.hurry,
    showSoon,
    get control() {
      return control
    },
    listen() {
      listening ??= listener?.start() ?? Promise.resolve()
    },
    async start() {
      presence.start()
      // Others may have seen the lock already.
      if (control?.isPresent) presence.beat()
      lag.start()
      rescue.start()
      await listening
      await proving
      await controlStarted
      sweeper.start()
      options.collector.start()
    },
    linger() {
      isLingering = true
      presence.unref()
      control?.unref()
      return endAllButPresence()
    },
    async stop() {
      if (showing !== null) clearTimeout(showing)
      // Not waited for first: a collector's statement may take a minute.
      const rest = endAllButPresence()
      presence.stop()
      await giveBackRest().catch((error) => log('%s: not given back: %s', presence.id, toError(error).message))
      await ask('worker_delete', [presence.id]).catch((error) =>
        log('%s: row not deleted: %s', presence.id, toError(error).message),
      )
      await control?.stop()
      await rest
    },
    destroy() {
      presence.stop()
      control?.destroy()
    },
  }
}
