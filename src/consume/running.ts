import { jobRefused } from '../errors.js'
import { mostBytes } from './claim/claim-size.js'
import type { ConsumerParts } from './consumer-parts.js'
import type { Core } from './core.js'
import { abortOf } from './run/abort.js'
import { keptFor } from './run/decision.js'
import { runIsStuck } from './run/lost-outcome.js'
import { aboutJob, createRunJobs } from './run/run-job.js'
import { createRunScopes } from './run/run-scope.js'
import { createRuns, type Run } from './run/runs.js'
import { createSlots } from './run/slots.js'
import { createSettler } from './settle/settler.js'
import type { WhatNow } from './settle/settler-parts.js'
import { ackInTransaction, writeNoOutcome, writeOutcomes } from './statements.js'

/** From a claimed job to its durable outcome. */
export type Running = ReturnType<typeof createRunning>

const outcomeRefused: Readonly<Record<WhatNow, string>> = {
  kept: 'cannot be settled; its outcome is kept and sent again',
  'stored in ASCII': 'is settled, but its result or progress has characters written out',
  'stored without data': 'is settled without its result or progress',
}

export function createRunning(parts: ConsumerParts, core: Core) {
  const { queue, handlers, options, bugle, payloads, database, worker, events, random } = parts
  const { now, tally, reasons, inFlight, lookAhead, demand, turns, claimError } = core

  let onAckInTransaction = (): void => {}

  const settler = createSettler({
    write: (batch) => writeOutcomes(parts.settle, batch),
    writeNone: (like) => writeNoOutcome(parts.settle, like),
    isHeld: demand.isClaimComing,
    onError: claimError,
    onRefused: ({ id }, error, whatNow) => claimError(jobRefused(id, outcomeRefused[whatNow], error)),
    random,
  })

  const runs = createRuns({
    now,
    newScope: createRunScopes(),
    onTimeout: ({ claimed }, timeoutMs) => {
      tally.count('timeouts')
      events.emit('job:timeout', { ...aboutJob(claimed), timeoutMs })
    },
    onStuck: ({ claimed, claimedAt, reason }) => {
      runIsStuck()
      turns.ended(claimed)
      if (reason !== null)
        events.emit('job:stuck', { ...aboutJob(claimed), reason: reason.code, ageMs: now() - claimedAt })
    },
    onAcked: (run, settled) => runJobs.acked(run, settled),
  })

  /** Of an express lane: they were let go of. */
  function dropped(given: readonly Run[]): void {
    for (const run of given) if (runs.remove(run)) inFlight.settled()
    reasons.slotFreed()
  }

  const runJobs = createRunJobs({
    queue,
    bugle,
    options,
    handlerFor: handlers.of,
    payloads,
    settler,
    ackInTransaction: (tx, claimed, result) =>
      ackInTransaction(
        database,
        tx,
        claimed,
        result === null ? null : { is: 'archived', result, ...keptFor(options.keep) },
      ),
    onEnded: (claimed, runMs, endedAt) => {
      lookAhead.ended(runMs)
      tally.ran(claimed, runMs, endedAt)
    },
    onDropped: (run) => dropped([run]),
    onLateAck: reasons.slotFreed,
    onAckInTransaction: () => onAckInTransaction(),
    onSettled: (run, end) => {
      tally.count(end)
      if (runs.remove(run)) inFlight.settled()
      turns.ended(run.claimed)
      reasons.slotFreed()
    },
    events,
  })

  /** Those were held, and shall not run here. */
  function giveBack(given: readonly Run[]): void {
    inFlight.begun(given.length)
    for (const run of given) {
      if (run.express?.letGo() === true) dropped([run])
      else void runJobs.giveBack(run)
    }
  }

  const slots = createSlots<Run>({
    concurrency: options.concurrency,
    run: (run) => {
      inFlight.begun(1)
      // A lane's row is locked: whoever was given up has it all the same.
      if (run.claimed.workerId === worker.id || run.express !== null) return runJobs.runJob(run)
      // The worker was given up while the claim was on its way, or while the job was held: others may have the job. The
      // new id explains no such row.
      return runJobs.giveBack(run)
    },
    // The slot of a plain ack is free for the next claim.
    onRan: reasons.slotFreed,
    giveBack,
    onImpatience() {
      lookAhead.lost()
      settler.flush()
    },
    gate: worker,
    patienceMs: lookAhead.patienceMs,
    mostHeldBytes: mostBytes,
    onFree() {
      reasons.slotFreed()
      // Flush, unless a claim is about to carry the acks. When held jobs were given back, no claim may be coming.
      settler.flush()
    },
    now,
  })

  return {
    settler,
    runs,
    slots,
    giveBack,
    /** Jobs of an express lane that have not begun, and never will. */
    drop(given: readonly Run[]): void {
      inFlight.begun(given.length)
      dropped(given)
    },
    /** @param listener - called when a handler acks its job itself */
    onAckInTransaction(listener: () => void): void {
      onAckInTransaction = listener
    },
    /** Nothing is claimed now, so acks that were held for a claim go too. */
    giveBackHeld(): void {
      giveBack(slots.takeBack())
      settler.flush()
    },
    abort: abortOf(runs),
    /** Slots that are taken, also by those who wait for their outcome to be durable. */
    activeJobs: () => Math.max(slots.taken, Math.min(inFlight.claimed - inFlight.held, options.concurrency)),
    /** Their hooks too, `onFailed` above all, belong to runs. */
    over: (): Promise<unknown> => Promise.all([inFlight.empty(), slots.onIdle()]),
  }
}
