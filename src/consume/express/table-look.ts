import type { Query } from '../../database/database.js'
import { type TableFault, tableFaults } from './statements.js'

/**
 * Whether a lane may work on the table of jobs: no trigger, rule or policy of the application's may keep its deletes or
 * look at them, and a row must be told by its place.
 *
 * It is looked at when a lane is to be opened, and again by those that follow, ten minutes later at the earliest. What
 * is added in between costs no job: a row that is not deleted aborts the lane's transaction (statement express_ack).
 */
export interface TableLook {
  /** @throws what `query` throws */
  isFit(): Promise<boolean>
  /** Why not, as far as it was looked at. */
  readonly faults: readonly TableFault[]
  /** Something was not as it was seen: the next one looks again. */
  forget(): void
}

/** For how long what was seen counts. No lane is open for longer. */
export const goodForMs = 600_000

/** @param now - ms of a clock that never jumps */
export function createTableLook(query: Query, now: () => number): TableLook {
  let faults: readonly TableFault[] = []
  let goodUntil = Number.NEGATIVE_INFINITY
  return {
    async isFit() {
      const at = now()
      if (at >= goodUntil) {
        faults = await tableFaults(query)
        goodUntil = at + goodForMs
      }
      return faults.length === 0
    },
    get faults() {
      return faults
    },
    forget() {
      goodUntil = Number.NEGATIVE_INFINITY
    },
  }
}
