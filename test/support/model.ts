import assert from 'node:assert/strict'
import type { ClaimedJob } from '../../src/consume/claimed-job.js'

/**
 * What Bugle's tables must hold, in memory: the rows. What is done to them is in model-calls.ts (put, requeue, cancel,
 * collect) and model-work.ts (claim, promote, settle).
 *
 * Time is whole hours since the sequence began: delays, ages and steps are hours, so the fractions of a second that it
 * takes decide nothing, however busy the machine is.
 */
export interface Model {
  now: number
  /** Of the tables job and archive, by id. */
  readonly rows: Map<string, Row>
  /** Every id that there has been, whatever became of it; ascending. */
  readonly ids: string[]
  /** Every claimed job, also those that were settled since: their outcomes are stale. */
  readonly claims: Claim[]
}

export interface Claim extends ClaimedJob {
  readonly workerId: string
}

/** One row, as the model has it and as the database shows it; in the order of the snapshot's columns. */
export interface Row {
  readonly id: string
  readonly queue: string
  state: State
  kind: string | null
  payload: number
  priority: number
  attempt: number
  maxAttempts: number | null
  lease: string
  workerId: string | null
  key: string | null
  /** One of them, or none. */
  flag: string | null
  progress: number | null
  result: number | null
  isCancelRequested: boolean
  /** Of last_error: failedBy, attempt, message, and failedBy of its cause. */
  error: string | null
  readonly createdAt: number
  runAt: number
  /** Of the last run; null while it waits. */
  claimedAt: number | null
  finishedAt: number | null
}

export type State = 'scheduled' | 'ready' | 'running' | 'failed' | 'archived'

/** The database after a command. */
export interface Snapshot {
  /** By id. */
  readonly rows: readonly Row[]
  /** To the microsecond, of the rows with these ids: which of several is earlier. */
  readonly times: ReadonlyMap<string, Times>
}

export interface Times {
  readonly runAtMicros: number
  readonly finishedAtMicros: number
}

export const emptySnapshot: Snapshot = { rows: [], times: new Map() }

export function createModel(): Model {
  return { now: 0, rows: new Map(), ids: [], claims: [] }
}

export function rowsIn(model: Model, ...states: readonly State[]): Row[] {
  return [...model.rows.values()].filter(({ state }) => states.includes(state)).sort(byId)
}

/** Waiting under a key: one job at most. */
export function waitingUnder(model: Model, queue: string, key: string | null | undefined): Row[] {
  if (key === null || key === undefined) return []
  return rowsIn(model, 'ready', 'scheduled').filter((row) => row.queue === queue && row.key === key)
}

export function byId(a: Pick<Row, 'id'>, b: Pick<Row, 'id'>): number {
  return Number(a.id) - Number(b.id)
}

export function inClaimOrder(a: Row, b: Row): number {
  return b.priority - a.priority || byId(a, b)
}

/** The database holds the model's rows, and what must always hold does. */
export function assertSame(model: Model, { rows }: Snapshot, before: Snapshot): void {
  const expected = [...model.rows.values()].sort(byId)
  // deepEqual shows the difference, and takes ten times as long.
  if (JSON.stringify(rows) !== JSON.stringify(expected)) assert.deepEqual(rows, expected)
  assertInvariants(rows, before)
}

/** What holds whatever was done: asked of the database's rows, so that a mistake of the model's cannot hide it. */
function assertInvariants(rows: readonly Row[], before: Snapshot): void {
  const waiting = new Set<string>()
  for (const { state, queue, key } of rows) {
    if (key === null || (state !== 'ready' && state !== 'scheduled')) continue
    const name = `${queue} ${key}`
    assert(!waiting.has(name), `two jobs wait under the key ${name}`)
    waiting.add(name)
  }
  const leases = new Map(before.rows.map(({ id, lease }) => [id, BigInt(lease)]))
  for (const { id, state, workerId, lease } of rows) {
    if (state !== 'archived') assert.equal(workerId !== null, state === 'running', `job ${id} is ${state}: its owner`)
    assert(BigInt(lease) >= (leases.get(id) ?? 0n), `the lease of job ${id} went back to ${lease}`)
  }
}

/**
 * `taken` are the first `limit` of `all` by a time that the database knows better than the model: of several that
 * share a microsecond any may come first.
 */
export function assertEarliest(
  taken: readonly Row[],
  all: readonly Row[],
  limit: number,
  timeOf: (row: Row) => number,
): void {
  const wrong = taken.filter((row) => !all.includes(row)).map(({ id }) => id)
  assert.deepEqual(wrong, [], 'taken although they are not due, do not match, or are of another state')
  assert.equal(taken.length, Math.min(limit, all.length), 'how many were taken')
  const latest = Math.max(...taken.map(timeOf))
  for (const row of all) {
    assert(taken.includes(row) || timeOf(row) >= latest, `job ${row.id} was passed over by later ones`)
  }
}

/** A job is over. */
export function fail({ now }: Model, row: Row, error: string): void {
  Object.assign(row, { state: 'failed', workerId: null, finishedAt: now, error })
}

/** Of jobs that have gone back in one statement, one keeps their key; none does if another waits under it already. */
export function shareKeys(model: Model, back: readonly Row[], after: Snapshot): void {
  for (const row of back) {
    const waiting = waitingUnder(model, row.queue, row.key)
    if (waiting.length < 2) continue
    const waitedBefore = waiting.some((other) => !back.includes(other))
    const keeper = waitedBefore ? undefined : waiting.find(({ id }) => rowOf(after, id)?.key === row.key)
    assert(waitedBefore || keeper !== undefined, `one job keeps the key ${row.key}`)
    for (const other of waiting) if (back.includes(other) && other !== keeper) other.key = null
  }
}

export function rowOf({ rows }: Snapshot, id: string): Row | undefined {
  return rows.find((row) => row.id === id)
}
