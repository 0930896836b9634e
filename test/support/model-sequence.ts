import assert from 'node:assert/strict'
import type { PutOptions } from '../../src/put/options.js'
import { assertSame, type Claim, createModel, emptySnapshot, type Model, rowsIn, type Snapshot } from './model.js'
import {
  applyCancel,
  applyCollect,
  applyPut,
  applyRequeue,
  endedMatching,
  endedWithin,
  type PutJob,
} from './model-calls.js'
import type { AckPlan, ClaimCommand, Command, KeyMode, NewJob, Pick, RunEnd } from './model-commands.js'
import { hourMs, type System } from './model-system.js'
import { applyClaim, applyPromote, applySettle, type Run } from './model-work.js'

/** What a command has changed: told to the model once the database has been looked at. */
type Change = (before: Snapshot, after: Snapshot) => void

/**
 * Carry out the commands one after the other, from empty tables; after each the database holds what the model does.
 *
 * @returns how many were sent; those that no job fits are not
 * @throws AssertionError
 */
export async function runCommands(system: System, commands: readonly Command[]): Promise<number> {
  await system.clear()
  const model = createModel()
  let before = emptySnapshot
  let sent = 0
  for (const [index, command] of commands.entries()) {
    const change = await carryOut(system, model, command, index + 1)
    if (change === null) continue
    const after = await system.look(model.now)
    change(before, after)
    assertSame(model, after, before)
    before = after
    sent += 1
  }
  return sent
}

/** @param step - a number that no other step of the run has */
async function carryOut(system: System, model: Model, command: Command, step: number): Promise<Change | null> {
  const { bugle } = system
  switch (command.do) {
    case 'put': {
      const { queue, job, keyMode } = command
      const payload = step * 100
      const answer = await unlessTaken(bugle.put(queue, payload, optionsOf(job, keyMode)).then((id) => [id]))
      return () => applyPut(model, { queue, jobs: [{ ...job, payload }], keyMode: keyMode ?? 'keep' }, answer)
    }
    case 'putMany': {
      const { queue, keyMode } = command
      const jobs: PutJob[] = command.jobs.map((job, index) => ({ ...job, payload: step * 100 + index }))
      const options = (_: unknown, index: number): PutOptions => optionsOf(command.jobs[index] ?? {}, keyMode)
      const payloads = jobs.map(({ payload }) => payload)
      const answer = await unlessTaken(bugle.putMany(queue, payloads, options))
      return () => applyPut(model, { queue, jobs, keyMode: keyMode ?? 'keep' }, answer)
    }
    case 'claim': {
      const workerId = system.workerIds[command.by]
      const acks = acksOf(model, command, workerId)
      const from = command.from === undefined ? null : (picked(model, command.from) ?? null)
      const request = { acks: acks.map(({ job: { id }, lease }) => ({ id, lease })), from, proves: from === null }
      const answer = await system.claim(workerId, command, request)
      return () => applyClaim(model, { ...command, acks, from }, workerId, answer)
    }
    case 'settle':
      return settle(system, model, command.runs, step)
    case 'promote': {
      const { queue, limit } = command
      const answer = await system.promote(queue, limit)
      return (before, after) => applyPromote(model, queue, limit, answer, before, after)
    }
    case 'requeue': {
      const ids = command.jobs.flatMap((pick) => picked(model, pick) ?? [])
      if (ids.length === 0) return null
      const answer = await bugle.requeue(ids)
      return (_, after) => applyRequeue(model, endedWithin(model, ids), answer, after)
    }
    case 'requeueMatching': {
      const { do: _, sinceHours, ...filter } = command
      // Half an hour off: all that was put in the oldest hour was put later than that.
      const since = sinceHours === undefined ? {} : { since: new Date(Date.now() - (sinceHours + 0.5) * hourMs) }
      const answer = await bugle.requeue({ ...filter, ...since })
      return (_, after) => applyRequeue(model, endedMatching(model, command), answer, after)
    }
    case 'cancel': {
      const id = picked(model, command.job)
      if (id === undefined) return null
      const answer = await bugle.cancel(id)
      return () => applyCancel(model, id, answer)
    }
    case 'collect': {
      const { failedHours, archivedHours, limit } = command
      if (failedHours === undefined && archivedHours === undefined) return null
      const answer = await bugle.collect({
        ...(failedHours !== undefined && { failedOlderThanMs: ageMs(failedHours) }),
        ...(archivedHours !== undefined && { archivedOlderThanMs: ageMs(archivedHours) }),
        ...(limit !== undefined && { limit }),
      })
      return (before, after) => applyCollect(model, command, answer, before, after)
    }
    case 'pass':
      await system.pass(command.hours)
      model.now += command.hours
      return () => {}
  }
}

/** Each job once, as the settler sees to. */
function acksOf(model: Model, { acks }: ClaimCommand, workerId: string): Claim[] {
  const chosen = new Map<string, Claim>()
  for (const ack of acks) {
    const claim = claimFor(model, ack)
    if (claim === undefined || chosen.has(claim.job.id)) continue
    if ((claim.workerId === workerId) === (ack.claim !== 'of another')) chosen.set(claim.job.id, claim)
  }
  return [...chosen.values()]
}

/** One worker after the other: two at once could meet at a key, and then one of them waits and tries again. */
async function settle(system: System, model: Model, ends: readonly RunEnd[], step: number): Promise<Change | null> {
  const { first, second } = system.workerIds
  const changes: Change[] = []
  for (const workerId of [first, second]) {
    const runs: Run[] = []
    for (const [index, end] of ends.entries()) {
      const claim = claimFor(model, end)
      if (claim === undefined || runs.some((run) => run.claim === claim)) continue
      const isOwner = claim.workerId === workerId
      if (isOwner === (end.claim !== 'of another')) {
        runs.push({ claim, outcome: end.outcome, value: step * 100 + index })
      }
    }
    if (runs.length === 0) continue
    const answers = await system.settle(workerId, runs)
    changes.push((before, after) => applySettle(model, workerId, runs, answers, before, after))
  }
  if (changes.length === 0) return null
  return (before, after) => {
    for (const change of changes) change(before, after)
  }
}

function claimFor({ claims, rows }: Model, { claim: choice, nth }: AckPlan): Claim | undefined {
  const runs = ({ job }: Claim): boolean => rows.get(job.id)?.state === 'running'
  const isCurrent = (claim: Claim): boolean => runs(claim) && rows.get(claim.job.id)?.lease === claim.lease
  const former = claims.filter((claim) => !isCurrent(claim))
  const again = former.filter(runs)
  const among = choice !== 'former' ? claims.filter(isCurrent) : again.length > 0 ? again : former
  return among[nth % among.length]
}

function picked(model: Model, { of, nth }: Pick): string | undefined {
  const ids = of === 'ever' ? model.ids : rowsIn(model, of).map(({ id }) => id)
  return ids[nth % ids.length]
}

function optionsOf({ flag, due, ...same }: NewJob, keyMode: KeyMode | undefined): PutOptions {
  return {
    ...same,
    ...(flag !== undefined && { flags: [flag] }),
    ...(due?.by === 'delayMs' && { delayMs: due.inHours * hourMs }),
    ...(due?.by === 'runAt' && { runAt: new Date(Date.now() + due.inHours * hourMs) }),
    ...(keyMode !== undefined && same.key !== undefined && { keyMode }),
  }
}

/** What ended at least so many hours ago, and nothing that ended later; 0: all. */
function ageMs(hours: number): number {
  return Math.max(0, hours - 0.5) * hourMs
}

async function unlessTaken(put: Promise<string[]>): Promise<string[] | 'KEY_TAKEN'> {
  try {
    return await put
  } catch (error) {
    assert.equal((error as { code?: unknown }).code, 'KEY_TAKEN', String(error))
    return 'KEY_TAKEN'
  }
}
