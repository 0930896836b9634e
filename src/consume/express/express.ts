import { withResolvers } from '../../with-resolvers.js'
import { createFloor } from '../claim/floor.js'
import type { ConsumerParts } from '../consumer-parts.js'
import type { Core } from '../core.js'
import type { ClaimInFlight } from '../in-flight.js'
import type { Running } from '../running.js'
import { createPauses } from '../settle/pauses.js'
import type { Choice } from '../statements.js'
import { createLane, type Lane, type LaneEnd, laneMs } from './lane.js'
import { openLaneSession } from './lane-session.js'
import { createLanes, type Lanes } from './lanes.js'
import { createTableLook, goodForMs } from './table-look.js'
import { createLaneTimes } from './when.js'

/**
 * The lanes of one consumer, and how its parts see them. A job of a lane is a run like any other; only its plain ack
 * goes by the lane, and all else waits until its row is a running one (`ExpressJob.keep`).
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
      lookAhead.jobs > 0 &&
      now() >= state.suspectsSeenAt + calmMs
    )
  }

  function laneOf(onWorks: () => void, isFirst: boolean): Pick<Lane, 'run' | 'close'> {
    const workerId = worker.id
    // Not that of the claims beside it: they find what a lane passes over.
    const floor = createFloor(now)
    let flight: ClaimInFlight | null = null
    /** It has claimed. Until then others claim as if there were none. */
    let works = false
    let claims = 0
    const lost = withResolvers<LaneEnd>()
    const looksAgainAt = now() + goodForMs
    /** Of one claim: half of it, where some have not begun before the cut, and all of it again while all do. */
    let most = mostJobs

    /** Those that were brought run here from now on. */
    function answered(jobs: number): void {
      flight?.answered(jobs)
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
        if (!isAllowed() || worker.id !== workerId || now() >= looksAgainAt) return null
        if (!works) state.lanes += 1
        works = true
        const limit = Math.min(Math.max(1, lookAhead.jobs), most, claimSize.most)
        flight = inFlight.claimSent(limit, 0, now())
        return { limit, from: floor.next(false) }
      },
      times: {
        claimed(claim) {
          const { asked, found, from, tookMs, rows } = claim
          floor.answered({ from, tripMs: tookMs, jobs: rows.map(({ claimed }) => claimed), isFull: found === asked })
          claims += 1
          return times.claimed({ ...claim, isFirst: claims === 1 })
        },
        written: times.written,
      },
      mostOthers: isFirst ? mostOthers : 0,
      mostMs: laneMs,
      random,
      start(jobs) {
        answered(jobs.length)
        onWorks()
        slots.start(runs.addExpress(jobs))
      },
      takeBack(free) {
        // Nothing has begun of a claim that came when it was too late.
        answered(0)
        most = free.length > 0 ? Math.ceil(most / 2) : Math.min(2 * most, mostJobs)
        if (free.length > 0) running.drop(slots.takeBack(({ express }) => express?.part === 'free'))
      },
      acked: ({ listener }, settled) => listener?.ackedByLane(settled),
      leaseLost: ({ listener }) => listener?.lostByLane(),
      lost: lost.resolve,
    })
    return {
      close: lane.close,
      run: async () => {
        const end = await Promise.race([lane.run(), lost.promise])
        if (works) state.lanes -= 1
        // Its last claim may have had no answer.
        answered(0)
        reasons.raise()
        return end
      },
    }
  }

  const lanes: Lanes = createLanes({
    together,
    createLane: laneOf,
    times,
    table: createTableLook(database.query, now),
    isAllowed,
    onLost: worker.mayHaveCrashed,
  })
  return lanes
}

const mostJobs = 500
/** After suspects were seen: what ends this process would take a lane's jobs with it. */
const calmMs = 5_000
/**
 * The server works for the one while handlers of the other run. But each lane locks rows that all others walk over: so
 * there are two only in a worker that is alone with them on the queue, and one in each of a few workers.
 */
const together = 2
const mostOthers = 3
