import createDebug from 'debug'
import { toError } from '../../errors.js'
import type { Lane, LaneEnd } from './lane.js'
import type { TableLook } from './table-look.js'
import type { DurableClaim, LaneTimes } from './when.js'

const log = createDebug('bugle:lane')

/**
 * The lanes of one consumer, one after the other: at most one is there at a time, and a new one only when the last one
 * is over with all that it held.
 *
 * What may interleave: before a lane is opened, the table is looked at, which takes a statement. A `close` in between
 * counts: then none is opened. A lane that is being closed holds jobs until they are written; what is claimed durably
 * meanwhile opens none.
 */
export interface Lanes {
  /** A durable claim was answered: that may open a lane. */
  answered(claim: DurableClaim): void
  /** Whether there is a lane, or will be in a moment: jobs need not be claimed ahead beside it. */
  readonly isOpen: boolean
  /** Jobs that the lane holds. */
  readonly jobs: number
  /** Write now what it holds, and go on: somebody waits for a row. */
  cut(): void
  /** Write what it holds, and have no lane until the next claim that calls for one. Resolves when it is over. */
  close(): Promise<void>
  /** The same, for good. */
  end(): Promise<void>
}

export interface LanesParts {
  /** A new lane, which has not been run. Its `next` must answer null while a lane may not claim. */
  readonly createLane: () => Lane
  readonly times: LaneTimes
  readonly table: TableLook
  /** Whether there may be one now, as far as others can say: asked before each. */
  readonly isAllowed: () => boolean
  /** Its session was lost: the server may have crashed. */
  readonly onLost: () => void
}

export function createLanes({ createLane, times, table, isAllowed, onLost }: LanesParts): Lanes {
  /** From the look at the table on. */
  let present: { lane: Lane | null; isClosing: boolean; over: Promise<void> } | null = null
  let isOver = false

  function open(): void {
    const opening: NonNullable<typeof present> = { lane: null, isClosing: false, over: Promise.resolve() }
    present = opening
    opening.over = use(opening)
      .catch((error) => log('no lane: %s', toError(error).message))
      .finally(() => {
        present = null
      })
  }

  async function use(opening: NonNullable<typeof present>): Promise<void> {
    if (!(await isFit())) return times.ended('refused', false)
    if (opening.isClosing) return
    opening.lane = createLane()
    times.opened()
    const end = await opening.lane.run()
    log('%o', end)
    times.ended(end.is, opening.isClosing)
    after(end)
  }

  /** Where nobody can say it, none may. */
  async function isFit(): Promise<boolean> {
    try {
      return await table.isFit()
    } catch (error) {
      log('the table was not looked at: %s', toError(error).message)
      return false
    }
  }

  function after(end: LaneEnd): void {
    // Something may have been made at the table since it was looked at.
    if (end.is === 'failed') table.forget()
    if (end.is === 'lost') onLost()
  }

  async function close(): Promise<void> {
    if (present === null) return
    present.isClosing = true
    void present.lane?.close()
    await present.over
  }

  return {
    answered(claim) {
      if (present === null && !isOver && times.mayOpen(claim) && isAllowed()) open()
    },
    get isOpen() {
      return present !== null && !present.isClosing
    },
    get jobs() {
      return present?.lane?.jobs ?? 0
    },
    cut() {
      present?.lane?.cut()
    },
    close,
    end() {
      isOver = true
      return close()
    },
  }
}
