import type { Database } from '../database/database.js'
import type { ClaimAnswer } from './dispatcher.js'
import type { Job } from './runner.js'
import type { Missed, Settlement } from './settler.js'

/** A job under our lease. */
export interface ClaimedJob {
  readonly job: Job
  /** The fence of every later write. */
  readonly lease: string
  /** From when it could run to its claim, by the database's clock. */
  readonly waitMs: number
}

interface ClaimRow {
  readonly id: string | null
  readonly kind: string | null
  readonly payload: unknown
  readonly attempt: number
  readonly lease: string
  readonly crashes: number
  readonly priority: number
  readonly key: string | null
  readonly flags: string | null
  readonly maxAttempts: number | null
  readonly timeoutMs: number | null
  readonly progress: unknown
  readonly createdAt: number
  readonly runAt: number
  readonly waitMs: number
  readonly xmin: string
  readonly target: string
  readonly leftBehind: boolean
}

/**
 * Claim up to `limit` ready jobs of one queue.
 *
 * Jobs that another session has locked are skipped, not waited for, so no two callers get the same job.
 * Order: highest priority first, then id.
 *
 * @returns 0 to `limit` jobs, `attempt` and lease already raised; and the signs that the sleep protocol reads
 * @see sql/statements/claim.sql
 */
export async function claimJobs(
  database: Database,
  queue: string,
  limit: number,
  workerId: string,
): Promise<ClaimAnswer<ClaimedJob>> {
  const rows = await database.query<ClaimRow>('claim', [queue, limit, workerId])
  const last = rows.at(-1)
  // A short answer ends with a row that is no job.
  const signs = last?.id === null ? last : undefined
  const jobs = inClaimOrder(signs ? rows.slice(0, -1) : rows).map((row) => toClaimedJob(queue, row))
  return {
    asked: limit,
    found: jobs.length,
    jobs,
    leftBehind: signs?.leftBehind ?? false,
    xmin: BigInt(signs?.xmin ?? 0),
    target: BigInt(signs?.target ?? 0),
  }
}

/** The rows come by id. */
function inClaimOrder(rows: ClaimRow[]): ClaimRow[] {
  const first = rows[0]?.priority
  return rows.every((row) => row.priority === first) ? rows : rows.sort((a, b) => b.priority - a.priority)
}

function toClaimedJob(queue: string, row: ClaimRow): ClaimedJob {
  return {
    job: Object.freeze({
      id: row.id ?? '',
      queue,
      kind: row.kind,
      payload: row.payload,
      attempt: row.attempt,
      maxAttempts: row.maxAttempts,
      crashes: row.crashes,
      priority: row.priority,
      key: row.key,
      flags: Object.freeze(row.flags === null ? [] : (JSON.parse(row.flags) as string[])),
      progress: row.progress,
      createdAt: new Date(row.createdAt),
      runAt: new Date(row.runAt),
    }),
    lease: row.lease,
    waitMs: row.waitMs,
  }
}

/**
 * Settle many outcomes in one statement, each only while its lease is still ours.
 *
 * @returns those that did not match
 * @see sql/statements/settle.sql
 */
export async function writeOutcomes(
  database: Database,
  workerId: string,
  batch: readonly Settlement[],
): Promise<Missed> {
  const acked = batch.filter(({ failure }) => failure === null)
  const failed = batch.filter(({ failure }) => failure !== null)
  return database.query<Missed[number]>('settle', [
    workerId,
    arrayLiteral(acked.map(({ id }) => id)),
    arrayLiteral(acked.map(({ lease }) => lease)),
    JSON.stringify(failed.map(({ id, lease, failure }) => ({ id, lease, error: failure }))),
  ])
}

// Of decimal strings only, so nothing needs quoting.
function arrayLiteral(numbers: readonly string[]): string {
  return `{${numbers.join(',')}}`
}
