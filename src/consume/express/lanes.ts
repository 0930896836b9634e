import createDebug from 'debug'
import { toError } from '../../errors.js'
import type { Lane, LaneEnd } from './lane.js'
import type { TableLook } from './table-look.js'
import type { DurableClaim, LaneTimes } from './when.js'

const log = createDebug('bugle:lane')

/**
 * The lanes of one consumer: some that work side by side, since the server works for the one while handlers of the
 * other run. The second one is opened when the first one works; a new first one only when all are over.
 *
 * What may interleave: before lanes are opened, the table is looked at, which takes a statement. A `close` in between
 * counts: then none is opened. Lanes that are being closed hold jobs until they are written; what is claimed durably
 * meanwhile opens none. When one ends, the others are closed as well: what has ended the one (the backlog's end, slow
 * handlers, an error) is of all. But one that could not be opened leaves the others alone: so many sessions may be more
 * than there are.
 */
export interface Lanes {
  /** A durable claim was answered: that may open lanes. */
  answered(claim: DurableClaim): void
  /** Whether there are lanes, or will be in a moment. */
  readonly isOpen: boolean
  /** Write what they hold, and have none until the next claim that calls for them. Resolves when they are over. */
  close(): Promise<void>
  /** The same, for good. */
  end(): Promise<void>
}

export interface LanesParts {
  /** How many work side by side. */
  readonly together: number
  /**
   * A new lane, which has not been run. Its `next` must answer null while a lane may not claim.
   *
   * @param onWorks - to be called when it has claimed jobs, each time or once
   * @param isFirst - none is there
   */
  readonly createLane: (onWorks: () => void, isFirst: boolean) => Pick<Lane, 'run' | 'close'>
  readonly times: LaneTimes
  readonly table: TableLook
  /** Whether there may be one now, as far as others can say: asked before each. */
  readonly isAllowed: () => boolean
  /** Its session was lost: the server may have crashed. */
  readonly onLost: () => void
}

export function createLanes({ together, createLane, times, table, isAllowed, onLost }: LanesParts): Lanes {
  /** From the look at the table on. */
  let present: { readonly lanes: Pick<Lane, 'run' | 'close'>[]; isClosing: boolean; over: Promise<void> } | null = null
  let isOver = false

  function open(): void {
    const opening: NonNullable<typeof present> = { lanes: [], isClosing: false, over: Promise.resolve() }
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
    times.opened()
    const { lanes } = opening
    const ends = new Set<LaneEnd['is']>()
    const running: Promise<void>[] = []
    let isEnding = false
    let wasAsked = false

    async function run(lane: (typeof lanes)[number]): Promise<void> {
      const end = await lane.run()
      log('%o', end)
      ends.add(end.is)
      wasAsked ||= opening.isClosing
      if (end.is === 'refused') return
      isEnding = true
      for (const other of lanes) void other.close()
    }

    /** The next one comes when this one works: the start of a session takes the processor from what is there. */
    function add(): void {
      if (lanes.length === together || isEnding || opening.isClosing) return
      const lane = createLane(add, lanes.length === 0)
      lanes.push(lane)
      running.push(run(lane))
    }

    add()
    // It grows meanwhile.
    for (const one of running) await one
    const worst = gravest.find((is) => ends.has(is)) ?? 'closed'
    times.ended(worst, wasAsked)
    // Something may have been made at the table since it was looked at.
    if (worst === 'failed') table.forget()
    if (worst === 'lost') onLost()
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

  async function close(): Promise<void> {
    if (present === null) return
    present.isClosing = true
    for (const lane of present.lanes) void lane.close()
    await present.over
  }

  return {
    answered(claim) {
      if (present === null && !isOver && times.mayOpen(claim) && isAllowed()) open()
    },
    get isOpen() {
      return present !== null && !present.isClosing
    },
    close,
    end() {
      isOver = true
      return close()
    },
  }
}

/** Of two ends the one that counts: an order is worth more than a refusal only where one of them was open. */
const gravest: readonly LaneEnd['is'][] = ['lost', 'failed', 'closed', 'refused']
