import createDebug from 'debug'
import type { ControlSession } from '../database/control.js'
import { closedError } from '../database/database.js'
import { toldError } from '../database/fault.js'
import type { SqlValue } from '../database/pool.js'
import type { StatementName } from '../database/statements.js'
import { unlessAborted } from '../deadline.js'
import { toError } from '../errors.js'
import type { Listener } from '../listen/listener.js'
import { createMoment, type Moment } from '../moment.js'
import { createParts, type Parts, type WorkerConsumer, type WorkerOptions } from './parts.js'

const log = createDebug('bugle:worker')

/**
 * One process's share in everything that its consumers have in common: its presence (the row that leases name, the
 * heartbeat), its control session, its listener, its sweeper, and its part in rescuing others. They come with the
 * first consumer and go with the last.
 *
 * The row is committed before the first claim, since a claim takes rows only while it is there.
 */
export interface Worker {
  /** Current id; a new one after it was lost, and after the last consumer had left. Read it for each claim. */
  readonly id: string
  readonly listener: Listener | null
  /** null: `listen: false`, or the way to the server is not proven direct (yet). */
  readonly control: ControlSession | null
  /** Whether something may be claimed or begun now: presence is confirmed, and the event loop runs freely. */
  readonly isOpen: boolean
  /** Whether claims may commit asynchronously, see trust.ts. Read it for each. */
  readonly isTrusted: boolean
  /** The server may have crashed: claims are durable for a minute, see trust.ts. */
  mayHaveCrashed(): void
  /** Whether nobody can have given this worker up; null: it has no presence, since nothing is consumed. */
  readonly isConfirmed: boolean | null
  /** Resolves when isOpen is true (again), or at the worker's stop. */
  opened(): Promise<void>
  /** What a consumer does first; it must `leave` as often as it joined. */
  join(signal: AbortSignal): Promise<void>
  /**
   * The last one stops everything and deletes the row. Rows that are still owned and that no run explains are given
   * back first.
   *
   * @param deadlineAt - on performance.now(); it resolves by then, or little later, whatever the database does
   */
  leave(deadlineAt: number): Promise<void>
  /** Every leave that was called and is not over is given until then, if that is sooner. */
  hurry(deadlineAt: number): void
  /**
   * The instance is closed while abandoned handlers go on: all ends but the presence, which goes on without keeping the
   * process alive until the last member has left.
   */
  linger(deadlineAt: number): Promise<void>
  /**
   * For outcomes after the instance is closed: one statement on the control session.
   *
   * @throws BugleError `CLOSED` if there is none; the driver's error
   */
  lateQuery<Row extends object>(name: StatementName, parameters: readonly SqlValue[]): Promise<Row[]>
  /** Resolves when nothing is being started or stopped any more. */
  settled(): Promise<unknown>
  add(consumer: WorkerConsumer): void
  remove(consumer: WorkerConsumer): void
  hurrySweep(): void
  /** What is consumed, or paused, has changed: its row says so within moments. */
  showSoon(): void
  /** The queue was paused for all processes. */
  queuePaused(queue: string): void
}

/** What a stop is given at least: all is done within it when all is well. */
const leastStopMs = 250
/** How long the worker's end may take when the joining was aborted. */
const abortedStopMs = 2_000

export function createWorker(options: WorkerOptions): Worker {
  const { database } = options
  const consumers = new Set<WorkerConsumer>()
  let id = options.newId()
  let hasStarted = false
  let parts: Parts | null = null
  let members = 0
  /** Until when each end may take that was asked for and is not over: also a leave that still waits for its turn. */
  const ends = new Set<Moment>()
  const awaitingOpen: (() => void)[] = []
  // Start and stop take turns: the last consumer may leave while the next one joins.
  let turn: Promise<unknown> = Promise.resolve()

  const now = (): number => performance.now()
  const isOpen = (): boolean => parts?.isOpen ?? false

  function tellOpen(): void {
    if (parts !== null && !isOpen()) return
    for (const tell of awaitingOpen.splice(0)) tell()
  }

  async function start(signal: AbortSignal): Promise<void> {
    // Never the same again: rows of the former one may still be found, by others, to have no owner.
    if (hasStarted) id = options.newId()
    hasStarted = true
    const starting = createParts(options, {
      id,
      newId: () => {
        id = options.newId()
        return id
      },
      consumers,
      onOpen: tellOpen,
    })
    parts = starting
    try {
      await database.whenUp(signal)
      starting.listen()
      await database.whenUp(signal, () => starting.presence.announce())
      await starting.start()
      log('%s started', id)
    } catch (error) {
      await endBy(now() + abortedStopMs, stop)
      // An abort has a reason of its own, whatever that is.
      throw signal.aborted ? error : toldError('consume', error)
    }
  }

  async function stop(by: Moment): Promise<void> {
    const stopping = parts
    parts = null
    tellOpen()
    if (stopping === null) return
    await waitFor(stopping.stop(), by)
    stopping.destroy()
    log('%s stopped', stopping.presence.id)
  }

  /** Resolves with the work, or at its moment, or little after it: what is left then goes on by itself, and ends. */
  async function waitFor(work: Promise<unknown>, by: Moment): Promise<void> {
    const leastBy = createMoment(now, now() + leastStopMs)
    const done = work.catch((error) => log('%s', toError(error).message))
    if (!(await by.before(done))) await leastBy.before(done)
  }

  /** An end that `hurry` can make shorter, from this call on. */
  async function endBy(deadlineAt: number, end: (by: Moment) => Promise<void>): Promise<void> {
    const by = createMoment(now, deadlineAt)
    ends.add(by)
    try {
      await end(by)
    } finally {
      ends.delete(by)
    }
  }

  function inTurn(work: () => Promise<void>): Promise<void> {
    const done = turn.then(work)
    turn = done.catch(() => {})
    return done
  }

  function leave(deadlineAt: number): Promise<void> {
    return endBy(deadlineAt, (by) =>
      inTurn(async () => {
        members -= 1
        if (members === 0) await stop(by)
      }),
    )
  }

  return {
    get id() {
      return id
    },
    get listener() {
      return parts?.listener ?? null
    },
    get control() {
      return parts?.control ?? null
    },
    get isOpen() {
      return isOpen()
    },
    get isTrusted() {
      return parts?.isTrusted ?? false
    },
    mayHaveCrashed() {
      parts?.mayHaveCrashed()
    },
    get isConfirmed() {
      return parts?.presence.isConfirmed ?? null
    },
    opened() {
      if (parts === null || isOpen()) return Promise.resolve()
      return new Promise((resolve) => awaitingOpen.push(resolve))
    },
    async join(signal) {
      // An outage is waited for outside the turn: each consumer by its own signal.
      await database.whenUp(signal)
      let isIn = false
      let isGone = false
      const joined = inTurn(async () => {
        signal.throwIfAborted()
        if (members === 0) await start(signal)
        if (isGone) return members === 0 ? endBy(now() + abortedStopMs, stop) : undefined
        members += 1
        isIn = true
      })
      try {
        await unlessAborted(joined, signal)
      } catch (error) {
        // Aborted in the middle: a consumer that is not in yet leaves in its own turn.
        isGone = true
        if (isIn) await leave(now() + abortedStopMs)
        throw error
      }
    },
    leave,
    hurry(deadlineAt) {
      for (const by of ends) by.sooner(Math.max(deadlineAt, now() + leastStopMs))
    },
    linger: (deadlineAt) =>
      endBy(deadlineAt, (by) =>
        inTurn(async () => {
          if (parts !== null) await waitFor(parts.linger(), by)
        }),
      ),
    async lateQuery<Row extends object>(name: StatementName, parameters: readonly SqlValue[]) {
      const control = parts?.control
      // One that is being connected again will be back: then a failure, to be tried again.
      if (!control) throw closedError()
      return control.query<Row>(name, parameters)
    },
    settled: () => turn,
    add(consumer) {
      consumers.add(consumer)
      parts?.showSoon()
    },
    remove(consumer) {
      consumers.delete(consumer)
      parts?.showSoon()
    },
    hurrySweep() {
      parts?.hurrySweep()
    },
    showSoon() {
      parts?.showSoon()
    },
    queuePaused(queue) {
      for (const consumer of consumers) if (consumer.queue === queue) consumer.queuePaused()
    },
  }
}
