import { knownKeys, oneOf } from '../checks.js'
import type { ConsumerStats } from '../consume/tally.js'
import type { ServedQueue } from '../worker/heartbeat.js'
import { type AdminParts, send } from './send.js'

/** A count that went no further than 10,000; with more than 50 queues, in each no further than its share of 500,000. */
export interface BoundedCount {
  readonly count: number
  /** false: there are at least so many. */
  readonly isExact: boolean
}

/** One queue, over all processes. Jobs are counted by the state that they are stored in. */
export interface QueueStats {
  readonly queue: string
  /** For all processes (`bugle.pause`). */
  readonly isPaused: boolean
  readonly ready: BoundedCount
  /**
   * A job that is due counts here until somebody makes it ready: when nobody consumes the queue, it stays scheduled.
   */
  readonly scheduled: BoundedCount
  /** Exact while no more than 10,000 jobs run in all queues together. */
  readonly running: BoundedCount
  /** Counted among the newest 10,000 failed jobs of all queues: exact while there are no more. */
  readonly failed: BoundedCount
  /**
   * How long ago the oldest ready job could run, by the database's clock; null: none is ready. When a queue is deeper
   * than what was counted, only the counted jobs and the first job of each priority are looked at.
   */
  readonly oldestReadyMs: number | null
  /** Live workers that consume it; those that have paused it in their process included. */
  readonly workers: number
  /** Slots of theirs that are not paused. */
  readonly slots: number
  /** This process's own consumer of it; null: it has none. */
  readonly here: ConsumerStats | null
}

/** One process that consumes. */
export interface WorkerStats {
  /** Decimal string. */
  readonly id: string
  readonly name: string
  readonly host: string
  readonly pid: number
  readonly version: string
  readonly startedAt: Date
  /** Since its last heartbeat, by the database's clock. */
  readonly seenMsAgo: number
  /**
   * - `live`: it had a heartbeat within its `rescueAfterMs`; or it is connected (holds its presence lock), and had one
   *   within its `hungAfterMs`.
   * - `hung`: connected, and without one for longer than both: its event loop is blocked, or it is stopped.
   * - `dead`: neither. Its jobs are given back as soon as any live worker has seen so, within some seconds; its row
   *   goes then.
   */
  readonly state: WorkerState
  readonly running: BoundedCount
  /** What it consumes, as of its last heartbeat. */
  readonly consumers: readonly ServedQueue[]
}

/**
 * 'live': it was seen within its `rescueAfterMs`, or holds its presence lock and was seen within its `hungAfterMs`;
 * 'hung': it holds the lock, and was silent for longer than both; 'dead': neither, and its jobs will be given back.
 */
export type WorkerState = 'live' | 'hung' | 'dead'

/** What is in the queues, and who works there, over all processes; a moment's look. */
export interface BugleStats {
  /**
   * By name: queues that have jobs, a consumer, or a row in the table `queue` (they were paused once). A queue that has
   * nothing but failed jobs is listed when one of them is among the newest 10,000.
   */
  readonly queues: readonly QueueStats[]
  /** false: there are more than a thousand queues, and these are the first by name. */
  readonly areAllQueues: boolean
  /** The oldest first. With a queue given: those that consume it. */
  readonly workers: readonly WorkerStats[]
}

/** What `stats` takes beside the queue. */
export interface StatsOptions {
  /**
   * Count every job, however many there are: `isExact` is true everywhere. It reads all jobs of the queue, or the whole
   * table, some 0.1 s for a million, and is given a minute. @defaultValue false
   */
  readonly exact?: boolean | undefined
}

interface ExactRow {
  readonly queue: string
  readonly state: 'scheduled' | 'ready' | 'running' | 'failed'
  readonly jobs: number
}

interface QueueRow {
  readonly name: string
  readonly isPaused: boolean
  /** How far ready and scheduled jobs were counted. */
  readonly most: number
  readonly ready: number
  readonly scheduled: number
  readonly running: number
  readonly failed: number
  readonly isRunningCut: boolean
  readonly isFailedCut: boolean
  readonly oldestReadyMs: number | null
}

interface WorkerRow extends Omit<WorkerStats, 'startedAt' | 'running' | 'state'>, SeenWorker {
  readonly startedAt: number
  readonly running: number
}

const mostCounted = 10_000
const mostQueues = 1_000
/** Of one state in all queues together: some 2 us each, and 10 s is all it has (3,000,000 took 5 to 7 s). */
const mostInAll = 500_000

/**
 * What is in the queues, and who works there: plain reads, which lock nothing and cost about the same however many jobs
 * there are. They are given 10 seconds, on a connection of their own, so that no claim waits for them. Two statements:
 * a job or worker that moves between them may be counted as before and as after.
 *
 * @param queue - a checked name; null: all
 * @param here - the consumers of this process by queue
 * @param options - `exact`: by a third statement, on an operator's connection
 * @throws BugleError `DATABASE_DOWN`, `NO_PRIVILEGE`, `NOT_MIGRATED`, `SCHEMA_TOO_NEW`, `CLOSED`; PostgreSQL's error,
 *   above all 57014 when they last too long
 * @see sql/statements/stats_queues.sql
 * @see sql/statements/stats_workers.sql
 * @see sql/statements/stats_exact.sql
 */
export async function readStats(
  { database }: AdminParts,
  queue: string | null,
  here: ReadonlyMap<string, ConsumerStats>,
  options: StatsOptions = {},
): Promise<BugleStats> {
  knownKeys('stats options', options, ['exact'])
  const isExact = oneOf('exact', options.exact ?? false, [true, false])
  const call = { name: 'stats', effect: 'reads' } as const
  const wanted = JSON.stringify(queue === null ? [...here.keys()] : [queue])
  const queueRows = await send<QueueRow>(
    database,
    'stats_queues',
    [queue, mostCounted, mostQueues, wanted, mostInAll],
    call,
  )
  const workerRows = await send<WorkerRow>(database, 'stats_workers', [mostCounted], call)
  const exact = isExact ? await send<ExactRow>(database, 'stats_exact', [queue], call) : null
  const workers = workerRows.map(toWorkerStats)
  const live = workers.filter(({ state }) => state === 'live')
  return {
    queues: inOrder(queueRows, ({ name }) => name)
      .slice(0, mostQueues)
      .map((row) => exactly(toQueueStats(row, live, here), exact)),
    areAllQueues: queueRows.length <= mostQueues,
    workers: inOrder(workers, ({ startedAt }) => startedAt.getTime()).filter(
      ({ consumers }) => queue === null || consumers.some((consumer) => consumer.queue === queue),
    ),
  }
}

function toQueueStats(
  row: QueueRow,
  live: readonly WorkerStats[],
  here: ReadonlyMap<string, ConsumerStats>,
): QueueStats {
  const consumers = live.flatMap((worker) => worker.consumers.filter(({ queue }) => queue === row.name))
  return {
    queue: row.name,
    isPaused: row.isPaused,
    ready: bounded(row.ready, row.most),
    scheduled: bounded(row.scheduled, row.most),
    running: bounded(row.running, mostCounted, row.isRunningCut),
    failed: bounded(row.failed, mostCounted, row.isFailedCut),
    oldestReadyMs: row.oldestReadyMs,
    workers: consumers.length,
    slots: consumers.reduce((sum, { concurrency, isPaused }) => sum + (isPaused ? 0 : concurrency), 0),
    here: here.get(row.name) ?? null,
  }
}

/** A queue that has nothing in a state has no row for it. */
function exactly(stats: QueueStats, rows: readonly ExactRow[] | null): QueueStats {
  if (rows === null) return stats
  const count = (of: ExactRow['state']): BoundedCount => ({
    count: rows.find(({ queue, state }) => queue === stats.queue && state === of)?.jobs ?? 0,
    isExact: true,
  })
  return {
    ...stats,
    ready: count('ready'),
    scheduled: count('scheduled'),
    running: count('running'),
    failed: count('failed'),
  }
}

function toWorkerStats(row: WorkerRow): WorkerStats {
  const { id, name, host, pid, version, startedAt, seenMsAgo, running, consumers } = row
  return {
    id,
    name,
    host,
    pid,
    version,
    startedAt: new Date(startedAt),
    seenMsAgo,
    state: workerState(row),
    running: bounded(running, mostCounted),
    consumers,
  }
}

/** What a worker's state is judged by; all by the database. */
interface SeenWorker {
  readonly isLockHeld: boolean
  readonly seenMsAgo: number
  /** Its own word. */
  readonly rescueAfterMs: number
  readonly hungAfterMs: number
}

/** As other workers judge it (worker/observations.ts), but for one moment's look. */
export function workerState({ isLockHeld, seenMsAgo, rescueAfterMs, hungAfterMs }: SeenWorker): WorkerState {
  if (seenMsAgo < rescueAfterMs) return 'live'
  if (!isLockHeld) return 'dead'
  // A word for after a lost lock may be longer than hungAfterMs.
  return seenMsAgo < hungAfterMs ? 'live' : 'hung'
}

/** @param isCut - the look has ended before it had seen all */
function bounded(count: number, most: number, isCut = false): BoundedCount {
  return count > most ? { count: most, isExact: false } : { count, isExact: !isCut }
}

/** The database sends them as they come. */
function inOrder<Row>(rows: readonly Row[], keyOf: (row: Row) => string | number): Row[] {
  return [...rows].sort((one, other) => (keyOf(one) < keyOf(other) ? -1 : 1))
}
