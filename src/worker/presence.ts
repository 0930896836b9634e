import createDebug from 'debug'
import { jitter } from '../backoff.js'
import type { Dozers } from '../database/control.js'
import { sqlState } from '../database/verdict.js'
import { toError } from '../errors.js'
import type { OtherWorker } from './observations.js'

const log = createDebug('bugle:presence')

/**
 * One process's presence in the database: its row, confirmed by a heartbeat three times in `rescueAfterMs`.
 *
 * - **unannounced**: its row is being inserted. Nothing may be claimed.
 * - **confirmed**: a heartbeat was answered not longer ago than the worker's own word in its row allows. The time of
 *   its *sending* counts, and others count from when they see the change, which is later: so a worker that could be
 *   given up knows it before they do. `isConfirmed` is computed at each reading: a process that was stopped, or whose
 *   event loop was blocked, sees at its first instruction that it is too late, and not when some timer fires.
 * - **confirmed by its lock**: somebody holds a lock on its row or the table (a `for update` in psql), so heartbeats
 *   are refused. One that was refused on the very session that holds the presence lock confirms the worker as well,
 *   for as long as an answer does, and while that session lives: others see `seen_at` stand still, ask for the presence
 *   lock, and find it, since the server has refused later than it gave it. And a burial is a DELETE of that row: it
 *   waits for whoever is in the heartbeats' way. But from `hungAfterMs` without a change on others bury in spite of the
 *   presence lock, as soon as the row is free. They count from when they saw the last change, and so later than we do
 *   from the sending of the last heartbeat that was written: until `hungAfterMs` after that it is safe, and no longer.
 * - **unconfirmed**: no answer for that long. Nothing is claimed and nothing begun until one comes.
 * - **lost**: a heartbeat found no row: others have given it up, and its jobs with it. It takes a new id, is
 *   unannounced again, and goes on. The old id is never used again.
 *
 * Its word (`rescue_after_ms`) depends on how it can be seen: with the presence lock others ask pg_locks before they
 * judge; without it the heartbeats alone decide, with a minute at least. But not at once: a lost control session is
 * back within a second or two, and a process that dies in between must not leave a row that asks for a minute. So the
 * minute is asked for when heartbeats have been answered without the lock for some seconds. (A process whose event loop
 * is blocked in just those seconds may be given up while it lives: then the fence holds, as ever.) On a link on which
 * an answer takes seconds it asks for some round trips at least, or it would be unconfirmed for most of the time. The
 * shortest word that a heartbeat may have written since the last one that was answered is the one that we go by.
 */
export interface Presence {
  readonly id: string
  /** Whether nobody can have given us up yet. Read it each time. */
  readonly isConfirmed: boolean
  /** Insert the row. @throws what the insert throws; to be tried again */
  announce(): Promise<void>
  /** Heartbeats from now on. */
  start(): void
  /** A heartbeat now; or one more after the one that is in flight. */
  beat(): void
  /** We have been away: a session was lost. The next answer counts as a return. */
  disturbed(): void
  /** From now on its timers do not keep the process alive. */
  unref(): void
  /** No further heartbeat; an answer that is still to come is ignored. */
  stop(): void
}

/** How the worker asks others to judge it. */
export interface Word {
  readonly rescueAfterMs: number
  readonly hungAfterMs: number
}

/** What a heartbeat finds. */
export interface Heartbeat {
  readonly isPresent: boolean
  /** Another value: the server was started again. */
  readonly server: string
  readonly running: readonly RunningRow[]
  readonly others: readonly OtherWorker[]
  /** Those of the queues asked about that are paused. */
  readonly paused: readonly string[]
  /** Of the tables that are there now: another name means others. */
  readonly channel: string | null
  /** The others that doze, by queue, of each queue on which this worker does. */
  readonly dozers: ReadonlyMap<string, Dozers>
}

/** A running row of this worker. */
export interface RunningRow {
  readonly id: string
  readonly lease: string
  readonly attempt: number
  /** Its cancel was requested. */
  readonly cancelled: boolean
}

/** An answered heartbeat; times on performance.now(). */
export interface Beat extends Heartbeat {
  readonly workerId: string
  readonly sentAt: number
  readonly answeredAt: number
  /** The first one after one that failed, a restart of the server, or the loss of a session. */
  readonly isBack: boolean
}

interface PresenceOptions {
  readonly id: string
  readonly newId: () => string
  readonly word: Word
  /** How long some heartbeats take on this link; default: no time. Others are asked to wait for that at least. */
  readonly heartbeatsMs?: () => number
  /** false: nothing is listened to, and no lock will ever be held. */
  readonly mayHoldLock: boolean
  readonly isLockHeld: () => boolean
  readonly insert: (id: string, word: Word) => Promise<unknown>
  readonly send: (id: string, word: Word) => Promise<Heartbeat>
  readonly onBeat: (beat: Beat) => void
  /** The row is there (again), or still. */
  readonly onConfirmed: () => void
  readonly onLost: (workerId: string, newWorkerId: string) => void
  readonly now: () => number
  readonly random: () => number
}

/** The least that a worker without the lock asks for: nobody can tell a blocked event loop from a death then. */
const withoutLockMs = 60_000
/** How long after an answer without the lock it may take to have it again. */
const relockMs = 3_000
const beatsPerWord = 3

export function createPresence(options: PresenceOptions): Presence {
  const { insert, send, now, random } = options
  const fence = createFence(now, options.isLockHeld)
  let { id } = options
  let isAnnounced = false
  let isBeating = false
  let isWanted = false
  let wasAway = false
  let failures = 0
  /** Of the first answer without the lock after one with it, or after a failure. */
  let unlockedSince: number | null = null
  let server: string | null = null
  let keepsAlive = true
  let started = false
  let stopped = false
  let timer: NodeJS.Timeout | undefined

  const slowMs = (): number => Math.ceil(options.heartbeatsMs?.() ?? 0)

  function word(): Word {
    const { hungAfterMs } = options.word
    const rescueAfterMs = Math.max(options.word.rescueAfterMs, Math.min(slowMs(), hungAfterMs))
    if (options.isLockHeld()) unlockedSince = null
    const isLong = !options.mayHoldLock || (unlockedSince !== null && now() - unlockedSince >= relockMs)
    return { rescueAfterMs: isLong ? Math.max(rescueAfterMs, withoutLockMs) : rescueAfterMs, hungAfterMs }
  }

  async function announce(): Promise<void> {
    const given = word()
    const sentAt = fence.sent(given.rescueAfterMs)
    await insert(id, given)
    isAnnounced = true
    fence.confirmed(sentAt, given.rescueAfterMs)
  }

  async function heartbeat(): Promise<void> {
    const workerId = id
    const given = word()
    const sentAt = fence.sent(given.rescueAfterMs)
    const answer = await sendUnderLock(workerId, given, sentAt)
    const answeredAt = now()
    if (stopped) return
    if (!answer.isPresent) return lost()
    const isBack = wasAway || (server !== null && server !== answer.server)
    wasAway = false
    server = answer.server
    fence.confirmed(sentAt, given.rescueAfterMs)
    if (!options.isLockHeld()) unlockedSince ??= answeredAt
    options.onBeat({ ...answer, workerId, sentAt, answeredAt, isBack })
  }

  async function sendUnderLock(workerId: string, given: Word, sentAt: number): Promise<Heartbeat> {
    const wasHeld = options.isLockHeld()
    try {
      return await send(workerId, given)
    } catch (error) {
      // With the loss of its session the lock is lost, or held anew.
      if (wasHeld && options.isLockHeld() && sqlState(error) !== null && !stopped) {
        fence.lockSeen(sentAt, given)
        options.onConfirmed()
      }
      throw error
    }
  }

  function lost(): void {
    const former = id
    id = options.newId()
    isAnnounced = false
    isWanted = true
    fence.close()
    log('%s was given up; now %s', former, id)
    options.onLost(former, id)
  }

  async function beat(): Promise<void> {
    if (isBeating || stopped) return
    clearTimeout(timer)
    isBeating = true
    isWanted = false
    try {
      await (isAnnounced ? heartbeat() : announce())
      failures = 0
      if (isAnnounced && !stopped) options.onConfirmed()
    } catch (error) {
      wasAway = true
      failures += 1
      unlockedSince = null
      log('%s: no heartbeat: %s', id, toError(error).message)
    } finally {
      isBeating = false
      schedule()
    }
  }

  function schedule(): void {
    if (stopped) return
    // A first failure may be that of the session alone: the next goes another way, at once.
    const soon = isWanted || failures === 1
    const inMs = soon ? 0 : jitter(options.word.rescueAfterMs / beatsPerWord, 0.9, 1, random)
    timer = setTimeout(() => void beat(), inMs)
    if (!keepsAlive) timer.unref()
  }

  return {
    get id() {
      return id
    },
    get isConfirmed() {
      return fence.isOpen
    },
    announce,
    start() {
      started = true
      schedule()
    },
    beat() {
      if (!started) return
      isWanted = true
      void beat()
    },
    disturbed() {
      wasAway = true
      fence.lockLost()
    },
    unref() {
      keepsAlive = false
      timer?.unref()
    },
    stop() {
      stopped = true
      clearTimeout(timer)
    },
  }
}

/** How long an answer is good for. */
interface Fence {
  readonly isOpen: boolean
  /** @returns when: what `confirmed` is given */
  sent(rescueAfterMs: number): number
  confirmed(sentAt: number, rescueAfterMs: number): void
  /** It was not written, but the lock was held when it was refused. */
  lockSeen(sentAt: number, word: Word): void
  lockLost(): void
  close(): void
}

function createFence(now: () => number, isLockHeld: () => boolean): Fence {
  let confirmedAt = Number.NEGATIVE_INFINITY
  let goodForMs = 0
  let goodByLockUntil = Number.NEGATIVE_INFINITY
  return {
    get isOpen() {
      const at = now()
      return at - confirmedAt < goodForMs || (at < goodByLockUntil && isLockHeld())
    },
    sent(rescueAfterMs) {
      // From now on the row may say so, whether or not we hear of it.
      goodForMs = Math.min(goodForMs, rescueAfterMs)
      return now()
    },
    confirmed(sentAt, rescueAfterMs) {
      confirmedAt = sentAt
      goodForMs = rescueAfterMs
    },
    lockSeen(sentAt, { rescueAfterMs, hungAfterMs }) {
      goodByLockUntil = Math.min(sentAt + rescueAfterMs, confirmedAt + hungAfterMs)
    },
    lockLost() {
      goodByLockUntil = Number.NEGATIVE_INFINITY
    },
    close() {
      confirmedAt = Number.NEGATIVE_INFINITY
      goodByLockUntil = Number.NEGATIVE_INFINITY
    },
  }
}
