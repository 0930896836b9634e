import assert from 'node:assert/strict'
import type { Settled } from '../../src/consume/settle/ending.js'
import type { Claimed } from '../../src/consume/statements.js'
import {
  assertEarliest,
  type Claim,
  fail,
  inClaimOrder,
  type Model,
  type Row,
  rowOf,
  rowsIn,
  type Snapshot,
  shareKeys,
} from './model.js'
import type { ClaimCommand, OutcomePlan } from './model-commands.js'

/* From a claim to an outcome: what consumers do to the model, and what they must have been answered. */

export interface ClaimedWithAcks {
  readonly claimed: Claimed
  /** null: all of them matched. */
  readonly acked: readonly string[] | null
}

/** Ready ones in claim order; and the acks that travel with it, of this worker's jobs under their leases. */
export function applyClaim(
  model: Model,
  { queue, kinds, withoutFlags, limit, by, acks, from }: Omit<ClaimCommand, 'do' | 'acks' | 'from'> & ClaimExtras,
  workerId: string,
  { claimed: answer, acked }: ClaimedWithAcks,
): void {
  const fits = (row: Row): boolean =>
    row.queue === queue &&
    (kinds === null || (row.kind !== null && kinds.includes(row.kind))) &&
    (row.flag === null || !withoutFlags.includes(row.flag))
  applyAcks(model, acks, workerId, acked)
  const isPresent = by !== 'nobody'
  const ready = rowsIn(model, 'ready').filter(fits).sort(inClaimOrder)
  const beyond = ready.filter(({ id }) => from === null || BigInt(id) > BigInt(from))
  const first = isPresent ? beyond.slice(0, limit) : []
  assert.deepEqual(
    answer.jobs.map(({ job }) => job.id),
    first.map(({ id }) => id),
    'the jobs claimed, in claim order',
  )

  for (const [index, row] of first.entries()) {
    const claimed = answer.jobs[index]
    assert(claimed !== undefined && BigInt(claimed.lease) > BigInt(row.lease), 'the lease grows')
    row.state = 'running'
    row.attempt += 1
    row.lease = claimed.lease
    row.workerId = workerId
    row.claimedAt = model.now
    assertHandedOver(claimed, row)
    model.claims.push({ ...claimed, workerId })
  }

  const isShort = first.length < limit
  const proves = from === null
  assert.equal(answer.leftBehind, isShort && proves && ready.length > first.length, 'leftBehind')
  const nearest = nearestRunAt(model, queue)
  assert.equal(answer.dueInMs === 'unknown', !isShort, 'dueInMs is known')
  if (answer.dueInMs !== 'unknown') assertDueIn(answer.dueInMs, nearest === null ? null : nearest - model.now)
}

interface ClaimExtras {
  readonly acks: readonly Claim[]
  /** An id. */
  readonly from: string | null
}

/** Deleted by the claim's statement, whatever else it found. */
function applyAcks(model: Model, acks: readonly Claim[], workerId: string, acked: readonly string[] | null): void {
  const matched = acks.filter(({ job, lease }) => {
    const row = model.rows.get(job.id)
    return row?.state === 'running' && row.lease === lease && row.workerId === workerId
  })
  const ids = matched.map(({ job }) => job.id)
  if (matched.length === acks.length) assert.equal(acked, null, 'all acks have matched')
  else assert.deepEqual(acked?.toSorted(), ids.toSorted(), 'the acks that have matched')
  for (const id of ids) model.rows.delete(id)
}

function assertHandedOver({ job }: Claimed['jobs'][number], row: Row): void {
  assert.deepEqual(
    { ...job, createdAt: null, runAt: null },
    {
      id: row.id,
      queue: row.queue,
      kind: row.kind,
      payload: row.payload,
      attempt: row.attempt,
      maxAttempts: row.maxAttempts,
      crashes: 0,
      priority: row.priority,
      key: row.key,
      flags: row.flag === null ? [] : [row.flag],
      progress: row.progress,
      createdAt: null,
      runAt: null,
    },
    'the job as its handler sees it',
  )
}

function nearestRunAt(model: Model, queue: string): number | null {
  const runAts = rowsIn(model, 'scheduled').flatMap((row) => (row.queue === queue ? [row.runAt] : []))
  return runAts.length === 0 ? null : Math.min(...runAts)
}

function assertDueIn(dueInMs: number | null, inHours: number | null): void {
  const answered = dueInMs === null ? null : Math.round(dueInMs / 3_600_000)
  // Rounding yields -0 as well.
  assert(answered === inHours, `the next is due in ${inHours} hours; answered was ${dueInMs} ms`)
}

export function applyPromote(
  model: Model,
  queue: string,
  limit: number,
  answer: { readonly promoted: number; readonly dueInMs: number | null },
  before: Snapshot,
  after: Snapshot,
): void {
  const due = rowsIn(model, 'scheduled').filter((row) => row.queue === queue && row.runAt <= model.now)
  const promoted = due.filter(({ id }) => rowOf(after, id)?.state === 'ready')
  assertEarliest(promoted, due, limit, ({ id }) => before.times.get(id)?.runAtMicros ?? 0)
  assert.equal(answer.promoted, promoted.length)
  for (const row of promoted) row.state = 'ready'
  const nearest = nearestRunAt(model, queue)
  assertDueIn(answer.dueInMs, nearest === null ? null : nearest - model.now)
}

export interface Run {
  readonly claim: Claim
  readonly outcome: OutcomePlan
  /** The result, or the progress. */
  readonly value: number
}

/** Runs for which jobs without `maxAttempts` may be tried; the n-th is followed by n hours of rest. */
export const mostRuns = 3

/** Outcomes that one worker settles at a time. */
export function applySettle(
  model: Model,
  workerId: string,
  runs: readonly Run[],
  answers: readonly Settled[],
  before: Snapshot,
  after: Snapshot,
): void {
  const back: Row[] = []
  for (const [index, { claim, outcome, value }] of runs.entries()) {
    const answer = answers[index]
    const row = model.rows.get(claim.job.id)
    if (row?.state !== 'running' || row.lease !== claim.lease || row.workerId !== workerId) {
      // As it was seen before or after the others.
      const seen = [before, after].map((snapshot) => ({ is: 'stale', lease: leaseIn(snapshot, claim.job.id) }))
      assert(
        seen.some((stale) => JSON.stringify(stale) === JSON.stringify(answer)),
        `${JSON.stringify(answer)} is one of ${JSON.stringify(seen)}`,
      )
      continue
    }
    const isWaiting = end(model, row, outcome, value)
    if (!isWaiting) assert.deepEqual(answer, { is: 'durable', runAt: null })
    else if (row.isCancelRequested) assert.deepEqual(answer, { is: 'cancelled' })
    else {
      back.push(row)
      const runAtMs = (after.times.get(row.id)?.runAtMicros ?? 0) / 1_000
      assert(
        answer?.is === 'durable' && Math.abs((answer.runAt ?? 0) - runAtMs) < 1,
        `${JSON.stringify(answer)}: it waits until ${runAtMs}`,
      )
    }
  }
  shareKeys(model, back, after)
}

function leaseIn(snapshot: Snapshot, id: string): string | null {
  const row = rowOf(snapshot, id)
  return row === undefined || row.state === 'archived' ? null : row.lease
}

/** @returns whether it should go back to its queue */
function end(model: Model, row: Row, outcome: OutcomePlan, value: number): boolean {
  const { attempt } = row
  switch (outcome.is) {
    case 'ack':
      model.rows.delete(row.id)
      return false
    case 'archive':
      // Of the archive's columns none tells of errors or cancels; the worker stays.
      Object.assign(row, {
        state: 'archived',
        result: value,
        finishedAt: model.now,
        error: null,
        isCancelRequested: false,
      })
      return false
    case 'reject':
      fail(model, row, `rejected ${attempt} no`)
      return false
    case 'error':
    case 'retry': {
      const message = outcome.is === 'error' ? 'broken' : 'busy'
      if (attempt >= (row.maxAttempts ?? mostRuns)) {
        fail(model, row, `exhausted ${attempt} ${message}`)
        return false
      }
      const inHours = outcome.is === 'retry' ? outcome.inHours : undefined
      wait(model, row, inHours ?? attempt, `retrying ${attempt} ${message}`)
      return true
    }
    case 'release':
      wait(model, row, outcome.inHours, null)
      // The attempt of a job that is over stays as its error tells it.
      if (!row.isCancelRequested) row.attempt -= 1
      return true
    case 'partial':
      wait(model, row, outcome.inHours, null)
      row.progress = value
      return true
  }
}

/** A job whose cancel was requested does not wait again. */
function wait(model: Model, row: Row, inHours: number, error: string | null): void {
  if (row.isCancelRequested) {
    fail(model, row, `cancelled ${row.attempt} cancelled${error === null ? '' : ' retrying'}`)
    return
  }
  row.state = inHours > 0 ? 'scheduled' : 'ready'
  row.runAt = model.now + inHours
  row.claimedAt = null
  row.workerId = null
  row.error = error ?? row.error
}
