import type { ConsumerParts } from '../consumer-parts.js'
import type { Core } from '../core.js'
import type { ClaimInFlight } from '../in-flight.js'
import type { Run } from '../run/runs.js'
import type { Running } from '../running.js'
import { createPauses } from '../settle/pauses.js'
import type { Choice } from '../statements.js'
import type { ExpressJob } from './batch.js'
import { createLane, type Lane, laneMs } from './lane.js'
import { openLaneSession } from './lane-session.js'
import { createLanes, type Lanes } from './lanes.js'
import { createTableLook } from './table-look.js'
import { createLaneTimes } from './when.js'

/**
 * The lanes of one consumer, and how its parts see them: a job of a lane is a run like any other, but that its plain ack
 * goes by the lane, and that all else waits until its row is a running one (`ExpressJob.keep`).
 *
 * Durable claims go on beside a lane, for free slots or one job more, twenty times per second and at each notification:
 * jobs that are not for a lane must not wait for its end.
 *
 * No lane is opened where a job may be claimed for some reason only (kinds, a limit), where acked jobs are kept, where
 * look-ahead is a number, where nothing is listened to; nor once a handler has acked in its own transaction: that
 * would wait for the lane's.
 */
export function createExpress(parts: ConsumerParts, core: Core, running: Running, choice: Choice): Lanes {
  const { options, database, worker, random } = parts
  const { now, state, reasons, inFlight, lookAhead, claimSize, quota } = core
  const { settler, runs, slots } = running
  const pauses = createPauses(random)
  const times = createLaneTimes(now)
  const mayEver =
    options.express &&
    parts.listens &&
    parts.prepares &&
    options.prefetch === 'earned' &&
    options.keep === 'failed' &&
    choice.kinds === null &&
    quota.left === Number.POSITIVE_INFINITY
  let hasAckedItself = false
  running.onAckInTransaction(() => {
    hasAckedItself = true
    void lanes.end()
  })

  function isAllowed(): boolean {
    return (
      mayEver &&
      !hasAckedItself &&
      worker.isTrusted &&
      worker.isOpen &&
      !state.isPaused &&
      !state.isStopping &&
      isAhead()
    )
  }

  function isAhead(): boolean {
    return lookAhead.jobs > 0
  }

  function laneOf(): Lane {
    const workerId = worker.id
    const byJob = new Map<ExpressJob, Run>()
    let flight: ClaimInFlight | null = null

    function over(): void {
      flight?.over()
      flight = null
    }

    const lane = createLane({
      openSession: (onLost) => openLaneSession(database, parts.hungAfterMs, onLost),
      query: database.query,
      settler,
      pauses,
      choice,
      workerId,
      next() {
        if (!isAllowed() || worker.id !== workerId) return null
        const limit = Math.min(Math.max(1, lookAhead.jobs), mostJobs, claimSize.most)
        flight = inFlight.claimSent(limit, 0, now())
        return { limit, from: null }
      },
      times: {
        claimed(claim) {
          // Its jobs are counted when they start, in this very turn: those of a lane that is being closed never do.
          over()
          return times.claimed(claim)
        },
        written: times.written,
      },
      mostMs: laneMs,
      random,
      start(jobs) {
        inFlight.brought(jobs.length)
        const added = runs.addExpress(jobs)
        // No hook is called any more for those of the batch before.
        byJob.clear()
        for (const [index, job] of jobs.entries()) byJob.set(job, added[index] as Run)
        slots.start(added)
      },
      takeBack() {
        const freed = slots.takeBack((run) => run.express?.letGo() === true)
        running.drop(freed)
      },
      acked(job, settled) {
        byJob.get(job)?.ackedByLane(settled)
        byJob.delete(job)
      },
      leaseLost(job) {
        byJob.get(job)?.abort('LEASE_LOST', 'its express lane was lost')
        byJob.delete(job)
      },
    })
    return {
      ...lane,
      get state() {
        return lane.state
      },
      get jobs() {
        return lane.jobs
      },
      run: async () => {
        state.hasLane = true
        const end = await lane.run()
        state.hasLane = false
        // Its last claim may have had no answer.
        over()
        reasons.raise()
        return end
      },
    }
  }

  const lanes = createLanes({
    createLane: laneOf,
    times,
    table: createTableLook(database.query, now),
    isAllowed,
    onLost: worker.mayHaveCrashed,
  })
  return lanes
}

const mostJobs = 500
