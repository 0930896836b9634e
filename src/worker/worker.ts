import { hostname } from 'node:os'
import createDebug from 'debug'
import type { Collector } from '../admin/collector.js'
import { createSweeper, type Seen, type Sweepable, type Sweeper } from '../consume/sweep.js'
import { type ControlSession, controlSettings, createControlSession } from '../database/control.js'
import type { Database } from '../database/database.js'
import { unlessAborted } from '../deadline.js'
import type { Events } from '../events.js'
import { createListener, type Listener } from '../listen/listener.js'

const log = createDebug('bugle:worker')

/**
 * One process's presence: its row (which leases name), its control session, its listener and its sweeper, shared by
 * all consumers of the instance. They come with the first consumer and go with the last.
 *
 * The row is committed before the first claim, since a claim takes rows only while it is there.
 */
export interface Worker {
  readonly id: string
  readonly listener: Listener | null
  readonly control: ControlSession | null
  /** What a consumer does first; it must `leave` as often as it joined. */
  join(signal: AbortSignal): Promise<void>
  leave(): Promise<void>
  /** Resolves when nothing is being started or stopped any more. */
  settled(): Promise<unknown>
  add(consumer: WorkerConsumer): void
  remove(consumer: WorkerConsumer): void
  hurrySweep(): void
}

export interface WorkerConsumer extends Sweepable {
  notified(): void
}

export interface WorkerOptions {
  readonly id: string
  readonly name: string
  readonly version: string
  readonly database: Database
  readonly events: Events
  readonly listen: boolean
  readonly sweepMs: number
  /** Works while there are consumers. */
  readonly collector: Collector
  readonly random: () => number
}

export function createWorker(options: WorkerOptions): Worker {
  const { id, database, events, random } = options
  const consumers = new Map<string, WorkerConsumer>()
  let parts: Parts | null = null
  let members = 0
  // Start and stop take turns: the last consumer may leave while the next one joins.
  let turn: Promise<unknown> = Promise.resolve()

  const raiseAll = (): void => {
    for (const consumer of consumers.values()) consumer.raise()
  }

  function startParts(): Parts {
    const control = options.listen
      ? createControlSession({
          open: () => database.openSession('control', controlSettings),
          statements: database.statements,
          // Whoever sleeps must notice that its K is void, and, when it can, take it again.
          onLost: raiseAll,
          onRegained: raiseAll,
        })
      : null
    const listener = options.listen
      ? createListener({
          connect: async () => {
            const session = await database.openSession('listener')
            await session.end()
            return session.config
          },
          channel: async () => (await database.query<{ channel: string }>('channel', []))[0]?.channel ?? '',
          pingChannel: `bugle_ping_${id}`,
          sendPing: async (channel, mark) => void (await database.query('ping', [channel, mark])),
          onNotification: (queue) => consumers.get(queue)?.notified(),
          onLive: raiseAll,
          onHealth: (from, to) => {
            events.emit('listener:health', { queue: null, from, to })
            sweeper.hurry()
          },
          random,
        })
      : null
    const sweeper: Sweeper = createSweeper({
      sweepMs: options.sweepMs,
      isLive: () => listener?.health === 'live',
      consumers: () => [...consumers.values()],
      look: (queues) => database.query<Seen>('sweep', [JSON.stringify(queues)]),
      random,
    })
    return { control, listener, sweeper }
  }

  async function start(signal: AbortSignal): Promise<void> {
    const row = [id, options.name, hostname(), process.pid, options.version]
    try {
      await database.whenUp(signal, () => database.query('worker_insert', row))
      parts = startParts()
      await parts.control?.start()
      await parts.listener?.start()
      parts.sweeper.start()
      options.collector.start()
      log('%s started', id)
    } catch (error) {
      await stop()
      throw error
    }
  }

  async function stop(): Promise<void> {
    const stopping = parts
    parts = null
    stopping?.sweeper.stop()
    await options.collector.stop()
    stopping?.listener?.stop()
    await stopping?.control?.stop()
    await database.query('worker_delete', [id]).catch((error) => log('%s: row not deleted: %s', id, error.message))
    log('%s stopped', id)
  }

  function inTurn(work: () => Promise<void>): Promise<void> {
    const done = turn.then(work)
    turn = done.catch(() => {})
    return done
  }

  function leave(): Promise<void> {
    return inTurn(async () => {
      members -= 1
      if (members === 0) await stop()
    })
  }

  return {
    id,
    get listener() {
      return parts?.listener ?? null
    },
    get control() {
      return parts?.control ?? null
    },
    async join(signal) {
      // An outage is waited for outside the turn: each consumer by its own signal.
      await database.whenUp(signal)
      let isIn = false
      let isGone = false
      const joined = inTurn(async () => {
        signal.throwIfAborted()
        if (members === 0) await start(signal)
        if (isGone) return members === 0 ? stop() : undefined
        members += 1
        isIn = true
      })
      try {
        await unlessAborted(joined, signal)
      } catch (error) {
        // Aborted in the middle: whoever is not in yet leaves in its own turn.
        isGone = true
        if (isIn) await leave()
        throw error
      }
    },
    leave,
    settled: () => turn,
    add(consumer) {
      consumers.set(consumer.queue, consumer)
    },
    remove(consumer) {
      consumers.delete(consumer.queue)
    },
    hurrySweep() {
      parts?.sweeper.hurry()
    },
  }
}

interface Parts {
  readonly control: ControlSession | null
  readonly listener: Listener | null
  readonly sweeper: Sweeper
}
