import createDebug from 'debug'
import type { JobError } from '../admin/record.js'
import { sendForOne } from '../admin/send.js'
import { idArray, jobId, knownKeys, signalOf } from '../checks.js'
import type { Database } from '../database/database.js'
import { databaseFault } from '../database/verdict.js'
import { BugleError, toError } from '../errors.js'
import { type Cover, createHearing, type Hearing } from './hearing.js'

const log = createDebug('bugle:results')

/** What a job has ended with. */
export type JobResult<Result = unknown> =
  /** With what its handler returned, or acked it with. Consumers keep it with `keep: 'all'`, or for a time. */
  | { readonly outcome: 'acked'; readonly result: Result }
  /** For good: no retry follows. */
  | { readonly outcome: 'failed'; readonly error: JobError }
  /** It is not there: its consumer keeps no acked jobs, or it was collected or discarded, or never was. */
  | { readonly outcome: 'gone' }

/** What `result` takes. */
export interface ResultOptions {
  /** Ends the wait: the call rejects with its reason. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Results of jobs, wherever they run: looked for once, and then waited for.
 *
 * **Pushed.** A job that ends says so to those who wait (hearing.ts), and one look at its row follows.
 *
 * **Why nothing is lost.** Who ends a job tests first whether somebody waits, and commits then: one that tested before
 * our lock was taken is silent, and a look may come before its commit. As in the sleep protocol
 * (consume/claim/sleep.ts) the lock is therefore a debt: its first look says which transaction id comes next, and until
 * a look has seen all older ones ended, looks go on: after 10 ms, and twice as long each time. A transaction of
 * somebody else that stays open may keep the debt from being paid; then a result that was not told comes late by as
 * much again as it was waited for. After that only what is told is looked at, and a sweep, every half minute, finds
 * what nobody tells: a plain ack of a consumer that keeps nothing, and what is discarded.
 *
 * **Right without notifications.** While nothing is heard (no listener, a pooler, a full queue of notifications, an
 * outage) every second has its look.
 */
export interface Results {
  /** @throws BugleError `INVALID_OPTION`, and as `send`; `CLOSED`; the signal's reason */
  wait(id: string, options?: ResultOptions): Promise<JobResult>
  /** The instance is closed: whoever waits hears the error. */
  end(error: Error): void
}

interface ResultsParts {
  readonly database: Database
  readonly decode: (stored: unknown) => unknown
  /** Whether to be told; otherwise every second has its look. */
  readonly listen: boolean
  /** Between looks for what nobody tells, in ms; 0: none while notifications arrive. */
  readonly sweepMs: number
  readonly onDeaf: (reason: string) => void
}

interface Waiter {
  over(result: JobResult): void
  failed(error: unknown): void
}

interface Found {
  readonly id: string
  readonly state: string
  /** As JSON text, of an archived job. */
  readonly result: string | null
  readonly error: JobError | null
}

interface Look {
  readonly xmin: string
  readonly target: string
  readonly jobs: readonly Found[]
}

const unheardMs = 1_000
const firstDebtMs = 10
const mostDebtMs = 30_000
/** Connections stay for the next result for so long. */
const idleMs = 5_000
/** Ids a look. */
const mostAtOnce = 1_000

export function createResults({ database, decode, listen, sweepMs, onDeaf }: ResultsParts): Results {
  const waiting = new Map<string, Set<Waiter>>()
  let hearing: Hearing | null = null
  let timer: NodeJS.Timeout | undefined
  let idle: NodeJS.Timeout | undefined
  let isLooking = false
  let isRaised = false
  /** The id of the next transaction when the last locks were taken; null: all older ones have been seen ended. */
  let debt: bigint | null = null
  let debtMs = firstDebtMs
  let closed: Error | null = null

  async function ask(ids: readonly string[]): Promise<Look> {
    return sendForOne<Look>(database, 'result_look', [idArray(ids)], { name: 'result', effect: 'reads' })
  }

  /** Now; or once more, where a look is on its way. */
  async function look(): Promise<void> {
    isRaised = true
    if (isLooking) return
    isLooking = true
    clearTimeout(timer)
    let nextMs: number | null = null
    while (isRaised && waiting.size > 0) {
      isRaised = false
      nextMs = await lookAtAll()
    }
    isLooking = false
    if (nextMs !== null && waiting.size > 0) timer = setTimeout(() => void look(), nextMs)
  }

  /** @returns when to look again without being told; null: never */
  async function lookAtAll(): Promise<number | null> {
    const ids = [...waiting.keys()]
    try {
      const cover = (await hearing?.cover(ids)) ?? 'not'
      let first: Look | null = null
      let last: Look | null = null
      for (let from = 0; from < ids.length; from += mostAtOnce) {
        const part = ids.slice(from, from + mostAtOnce)
        last = await ask(part)
        first ??= last
        for (const id of part) tellIfOver(id, last.jobs)
        // Heavy results come by one look after the other.
        if (last.jobs.some(({ state }) => state === 'unread')) isRaised = true
      }
      return first === null || last === null ? null : dueAfter(cover, first, last)
    } catch (error) {
      log('%s', toError(error).message)
      if (!mayPass(error)) tellAll(error)
      return unheardMs
    }
  }

  /** @param first - no later than any job was looked at; @param last - no earlier */
  function dueAfter(cover: Cover, first: Look, last: Look): number | null {
    if (cover === 'not') {
      debt = null
      return unheardMs
    }
    if (cover === 'anew') {
      debt = BigInt(last.target)
      debtMs = firstDebtMs
    }
    if (debt !== null && BigInt(first.xmin) >= debt) debt = null
    if (debt === null) return sweepMs === 0 ? null : sweepMs
    const dueMs = debtMs
    debtMs = Math.min(2 * debtMs, mostDebtMs)
    return dueMs
  }

  function tellIfOver(id: string, jobs: readonly Found[]): void {
    const result = resultOf(id, jobs)
    if (result === null) return
    const waiters = waiting.get(id) ?? []
    waiting.delete(id)
    for (const waiter of waiters) waiter.over(result)
    endWhenIdle()
  }

  function tellAll(error: unknown): void {
    const all = [...waiting.values()]
    waiting.clear()
    for (const waiters of all) for (const waiter of waiters) waiter.failed(error)
    endWhenIdle()
  }

  /** null: it is not over. One that was put back by hand comes before its own archive. */
  function resultOf(id: string, jobs: readonly Found[]): JobResult | null {
    const own = jobs.filter((job) => job.id === id)
    const job = own.find(({ state }) => state !== 'archived') ?? own[0]
    if (job === undefined) return { outcome: 'gone' }
    if (job.state === 'failed') return { outcome: 'failed', error: job.error ?? {} }
    return job.state === 'archived' ? { outcome: 'acked', result: decoded(job.result) } : null
  }

  /** Where the codec throws, what is stored is given, as by `job`. */
  function decoded(text: string | null): unknown {
    const stored: unknown = text === null ? null : JSON.parse(text)
    try {
      return decode(stored)
    } catch {
      return stored
    }
  }

  function hear(): void {
    clearTimeout(idle)
    if (!listen || hearing !== null) return
    hearing = createHearing({
      database,
      onEnded: (id) => {
        if (waiting.has(id)) void look()
      },
      onChange: () => void look(),
      onDeaf,
    })
  }

  function endWhenIdle(): void {
    // A look that was on its way at the close ends after it, and must leave no timer behind.
    if (waiting.size > 0 || closed !== null) return
    clearTimeout(timer)
    clearTimeout(idle)
    idle = setTimeout(endHearing, idleMs)
  }

  function endHearing(): void {
    hearing?.stop()
    hearing = null
    debt = null
  }

  function join(id: string, signal: AbortSignal | undefined): Promise<JobResult> {
    return new Promise((resolve, reject) => {
      const aborted = (): void => {
        leave()
        waiter.failed(signal?.reason)
        endWhenIdle()
      }
      const waiter: Waiter = {
        over(result) {
          signal?.removeEventListener('abort', aborted)
          resolve(result)
        },
        failed(error) {
          signal?.removeEventListener('abort', aborted)
          reject(error)
        },
      }
      function leave(): void {
        const others = waiting.get(id)
        others?.delete(waiter)
        if (others?.size === 0) waiting.delete(id)
      }
      signal?.addEventListener('abort', aborted, { once: true })
      waiting.set(id, (waiting.get(id) ?? new Set()).add(waiter))
      hear()
      void look()
    })
  }

  return {
    async wait(idGiven, options = {}) {
      const id = jobId(idGiven)
      knownKeys('result options', options, ['signal'])
      const signal = signalOf(options.signal)
      signal?.throwIfAborted()
      const over = resultOf(id, (await ask([id])).jobs)
      if (over !== null) return over
      signal?.throwIfAborted()
      if (closed !== null) throw closed
      return join(id, signal)
    },
    end(error) {
      closed = error
      tellAll(error)
      clearTimeout(timer)
      clearTimeout(idle)
      endHearing()
    },
  }
}

/** An outage, or a moment's trouble. */
function mayPass(error: unknown): boolean {
  if (error instanceof BugleError) return error.code === 'DATABASE_DOWN'
  return ['down', 'unknown', 'passing'].includes(databaseFault(error))
}
