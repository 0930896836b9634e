import assert from 'node:assert/strict'
import type { CancelAnswer } from '../../src/admin/cancel.js'
import type { CollectReport } from '../../src/admin/collect.js'
import {
  assertEarliest,
  fail,
  type Model,
  type Row,
  rowOf,
  rowsIn,
  type Snapshot,
  shareKeys,
  waitingUnder,
} from './model.js'
import type { CollectCommand, KeyMode, NewJob, RequeueCommand } from './model-commands.js'

/*
 * What applications and operators ask: what it does to the model, and what it must have been answered.
 *
 * Where the database has a choice (an id, which of several rows of one microsecond is first, which of several jobs
 * keeps their key) the model follows it, if it is one of the right ones.
 */

export interface PutJob extends NewJob {
  readonly payload: number
}

/** One after the other, although it is one statement. */
export function applyPut(
  model: Model,
  { queue, jobs, keyMode }: { queue: string; jobs: readonly PutJob[]; keyMode: KeyMode },
  answer: readonly string[] | 'KEY_TAKEN',
): void {
  if (keyMode === 'reject' && isTaken(model, queue, jobs)) {
    assert.equal(answer, 'KEY_TAKEN')
    return
  }
  assert(answer !== 'KEY_TAKEN', 'nothing waits under the key')
  assert.equal(answer.length, jobs.length)
  const fresh = new Set<string>()
  for (const [index, job] of jobs.entries()) {
    const id: string = answer[index] ?? ''
    const [waiting] = waitingUnder(model, queue, job.key)
    if (waiting === undefined) {
      assert(!fresh.has(id), `two jobs have the id ${id}`)
      fresh.add(id)
      model.rows.set(id, newRow(model, queue, id, job))
    } else {
      assert.equal(id, waiting.id, 'the id of the job that waits under the key')
      const { lease, createdAt } = waiting
      if (keyMode === 'replace') model.rows.set(id, { ...newRow(model, queue, id, job), lease, createdAt })
    }
  }
  // Of a key's jobs in one statement the last is inserted, or the first.
  const place = (id: string): number => (keyMode === 'replace' ? answer.lastIndexOf(id) : answer.indexOf(id))
  const inserted = [...fresh].sort((a, b) => place(a) - place(b))
  model.ids.push(...inserted)
  assert.deepEqual(
    model.ids,
    [...new Set(model.ids)].sort((a, b) => Number(a) - Number(b)),
    'ids ascend',
  )
}

function isTaken(model: Model, queue: string, jobs: readonly NewJob[]): boolean {
  const keys = jobs.flatMap(({ key }) => (key === undefined ? [] : [key]))
  return new Set(keys).size < keys.length || keys.some((key) => waitingUnder(model, queue, key).length > 0)
}

function newRow({ now }: Model, queue: string, id: string, job: PutJob): Row {
  const inHours = job.due?.inHours ?? 0
  return {
    id,
    queue,
    state: inHours > 0 ? 'scheduled' : 'ready',
    kind: job.kind ?? null,
    payload: job.payload,
    priority: job.priority ?? 0,
    attempt: 0,
    maxAttempts: job.maxAttempts ?? null,
    lease: '0',
    workerId: null,
    key: job.key ?? null,
    flag: job.flag ?? null,
    progress: null,
    result: null,
    isCancelRequested: false,
    error: null,
    createdAt: now,
    runAt: now + inHours,
    claimedAt: null,
    finishedAt: null,
  }
}

export function endedWithin(model: Model, ids: readonly string[]): Row[] {
  return rowsIn(model, 'failed', 'archived').filter(({ id }) => ids.includes(id))
}

export function endedMatching(model: Model, filter: RequeueCommand): Row[] {
  const { state, queue, kind, sinceHours, limit } = filter
  return rowsIn(model, state)
    .filter((row) => queue === undefined || row.queue === queue)
    .filter((row) => kind === undefined || row.kind === kind)
    .filter((row) => sinceHours === undefined || row.createdAt >= model.now - sinceHours)
    .slice(0, limit)
}

export function applyRequeue(model: Model, ended: readonly Row[], answer: number, after: Snapshot): void {
  assert.equal(answer, ended.length, 'how many were requeued')
  for (const row of ended) {
    Object.assign(row, {
      state: 'ready',
      attempt: 0,
      workerId: null,
      result: null,
      isCancelRequested: false,
      error: null,
      runAt: model.now,
      claimedAt: null,
      finishedAt: null,
    })
  }
  shareKeys(model, ended, after)
}

export function applyCancel(model: Model, id: string, answer: CancelAnswer): void {
  const row = model.rows.get(id)
  switch (row?.state) {
    case 'ready':
    case 'scheduled':
      assert.equal(answer, 'cancelled')
      fail(model, row, `cancelled ${row.attempt} cancelled`)
      row.isCancelRequested = true
      break
    case 'running':
      assert.equal(answer, 'requested')
      row.isCancelRequested = true
      break
    default:
      assert.equal(answer, 'not-found')
  }
}

/** The limit is for both; failed jobs come first. */
export function applyCollect(
  model: Model,
  { failedHours, archivedHours, limit = Number.POSITIVE_INFINITY }: Omit<CollectCommand, 'do'>,
  answer: CollectReport,
  before: Snapshot,
  after: Snapshot,
): void {
  const collected = { failed: 0, archived: 0 }
  for (const [state, hours] of [
    ['failed', failedHours],
    ['archived', archivedHours],
  ] as const) {
    const old = rowsIn(model, state).filter(
      ({ finishedAt }) => hours !== undefined && finishedAt !== null && finishedAt <= model.now - hours,
    )
    const gone = old.filter(({ id }) => rowOf(after, id) === undefined)
    assertEarliest(gone, old, limit - collected.failed, ({ id }) => before.times.get(id)?.finishedAtMicros ?? 0)
    for (const { id } of gone) model.rows.delete(id)
    collected[state] = gone.length
  }
  assert.deepEqual(answer, collected)
}
