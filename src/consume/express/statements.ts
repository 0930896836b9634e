import type { Query } from '../../database/database.js'
import type { ClaimedJob } from '../claimed-job.js'
import { type Choice, flagsOf, inIdOrder, lowestId, numberArray, rowsAsClaimed } from '../statements.js'
import type { ClaimedRow, ExpressJob } from './batch.js'
import type { LaneAnswer, LaneStatement, ServerProcess } from './lane-session.js'

/** What the statements of a lane take and answer. */

/**
 * A row of the claim. `version` is its xmin; payload and more are JSON text; created_at is in microseconds since 1970,
 * as run_at is.
 */
type ExpressRow = readonly [
  id: string,
  ctid: string,
  version: string,
  payload: string,
  created_at: string,
  more: string | null,
]

/** What a job has beside its payload. */
interface More {
  readonly kind: string | null
  readonly attempt: number
  readonly lease: string
  readonly priority: number
  readonly flags: (string | null)[] | null
  readonly max_attempts: number | null
  readonly timeout_ms: number | null
  /** JSON text. */
  readonly progress: string | null
  /** null: as created_at. */
  readonly run_at: string | null
}

interface Signs {
  readonly xid: string | null
  /** Seconds since 1970. */
  readonly claimed_at: number
  readonly took_ms: number
  readonly paused: boolean
  readonly calm: boolean
  readonly present: boolean
}

export interface ClaimOfLane {
  readonly asked: number
  readonly rows: readonly ClaimedRow[]
  readonly xid: string | null
  /** On the server, in ms. */
  readonly tookMs: number
  /** The queue is: then nothing was taken. */
  readonly isPaused: boolean
  readonly isCalm: boolean
  /** Whether the worker's row is there, and says that it has a lane here. If not, nothing was taken. */
  readonly isPresent: boolean
}

export interface LaneRequest {
  readonly choice: Choice
  readonly workerId: string
  /** Jobs, from 1 up. */
  readonly limit: number
  /** Look at jobs with a higher id only; null: at all. */
  readonly from: string | null
}

/** A whole claim: its transaction begins with it. */
export function claimStatements({ choice, workerId, limit, from }: LaneRequest): LaneStatement[] {
  return [
    { name: 'express_begin', values: null },
    { name: 'express_lock', values: null },
    { name: 'express_claim', values: [choice.queue, limit, workerId, flagsOf(choice), from ?? lowestId] },
  ]
}

/** @param random - from 0 up to 1 */
export function readClaim({ rows }: LaneAnswer, request: LaneRequest, random: () => number): ClaimOfLane {
  const [id, , , , , last] = (rows.at(-1) ?? []) as Partial<ExpressRow>
  if (id !== null || last == null) throw new Error('the claim of an express lane ended without its signs')
  const signs: Signs = JSON.parse(last)
  const all = rows.slice(0, -1) as unknown as readonly ExpressRow[]
  const { queue } = request.choice
  return {
    asked: request.limit,
    rows: all.map((row) => toClaimedRow(row, queue, request.workerId, signs.claimed_at, random)),
    xid: signs.xid,
    tookMs: signs.took_ms,
    isPaused: signs.paused,
    isCalm: signs.calm,
    isPresent: signs.present,
  }
}

const plain: More = {
  kind: null,
  attempt: 0,
  lease: '0',
  priority: 0,
  flags: null,
  max_attempts: null,
  timeout_ms: null,
  progress: null,
  run_at: null,
}
const noFlags: readonly string[] = Object.freeze([])

function toClaimedRow(
  [id, place, version, payload, created, moreText]: ExpressRow,
  queue: string,
  workerId: string,
  claimedAt: number,
  random: () => number,
): ClaimedRow {
  const more: More = moreText === null ? plain : JSON.parse(moreText)
  const { kind, attempt, lease, priority, flags, max_attempts, timeout_ms, progress, run_at } = more
  const createdAt = new Date(Number(created) / 1e3)
  const runAt = run_at === null ? createdAt : new Date(Number(run_at) / 1e3)
  const waitsSince = Math.max(createdAt.getTime(), runAt.getTime())
  const claimed: ClaimedJob = {
    job: Object.freeze({
      id,
      queue,
      kind,
      payload: JSON.parse(payload),
      attempt: Math.min(Math.max(attempt, 0), mostAttempts) + 1,
      maxAttempts: max_attempts,
      crashes: 0,
      priority,
      key: null,
      flags: flags === null ? noFlags : Object.freeze(flags.filter((flag) => flag !== null)),
      progress: progress === null ? null : JSON.parse(progress),
      createdAt,
      runAt,
    }),
    lease: nextLease(lease, random),
    workerId,
    bytes: payload.length + (progress?.length ?? 0),
    timeoutMs: timeout_ms,
    waitMs: Math.max(0, claimedAt * 1e3 - waitsSince),
  }
  return { claimed, place, version, lease, createdAt: created, runAt: run_at ?? created }
}

/** As the statement that keeps a job writes it. */
const mostAttempts = 999_999_999
const mostLease = 4_611_686_018_427_387_904n

/** As a claim draws it: after a failover to an older state the same numbers must not come twice. */
function nextLease(lease: string, random: () => number): string {
  const step = 1 + Math.floor(random() * 2 ** 31)
  if (lease === '0') return String(step)
  const from = BigInt(lease)
  return String((from < mostLease ? from : mostLease) + BigInt(step))
}

/** To delete them within the transaction that has claimed them. */
export function ackStatement(jobs: readonly ExpressJob[], xid: string | null): LaneStatement {
  return { name: 'express_ack', values: [placesOf(jobs), xid] }
}

/** To make them running ones within the transaction that has claimed them. */
export function keepStatement(jobs: readonly ExpressJob[], xid: string | null, workerId: string): LaneStatement {
  const leases = numberArray(jobs.map(({ claimed }) => claimed.lease))
  return { name: 'express_keep', values: [workerId, placesOf(jobs), xid, leases] }
}

function placesOf(jobs: readonly ExpressJob[]): string {
  return `{${jobs.map(({ asClaimed }) => `"${asClaimed.place}"`).join(',')}}`
}

export const commitStatement: LaneStatement = { name: 'express_commit', values: null }

/**
 * Make jobs running ones, each only while it is as it was claimed, or if the lane's commit has done so.
 *
 * @returns the ids of those that are
 * @see sql/statements/keep_express.sql
 */
export async function keepAlone(query: Query, workerId: string, jobs: readonly ExpressJob[]): Promise<Set<string>> {
  const sorted = inIdOrder(jobs.map(({ claimed, asClaimed }) => ({ id: claimed.job.id, claimed, asClaimed })))
  const rows = await query<{ id: string }>('keep_express', [
    workerId,
    ...rowsAsClaimed(sorted.map(({ id, asClaimed }) => ({ id, ...asClaimed }))),
    numberArray(sorted.map(({ claimed }) => claimed.lease)),
  ])
  return new Set(rows.map(({ id }) => id))
}

/** Ends a lane's server process, if it is there. @throws what `query` throws */
export async function terminate(query: Query, { pid, started }: ServerProcess): Promise<void> {
  await query('express_terminate', [pid, started])
}

/** @returns why no lane may work on the table; none: one may */
export function tableFaults(query: Query): Promise<TableFault[]> {
  return query<TableFault>('express_table', [])
}

export interface TableFault {
  /** Of what is there. */
  readonly name: string
  /** A part of a sentence that begins with the name. */
  readonly why: string
}

/**
 * Says that this worker has a lane.
 *
 * @param mostOthers - how many other workers may say so of the queue
 * @returns whether it may have one, and is known
 * @throws what `query` throws
 */
export async function announceLane(
  query: Query,
  workerId: string,
  queue: string,
  mostOthers: number,
): Promise<boolean> {
  const [row] = await query<{ present: boolean }>('worker_lane', [workerId, queue, mostOthers])
  return row?.present === true
}
