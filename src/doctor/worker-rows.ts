import { type WorkerState, workerState } from '../admin/stats.js'
import type { ServedQueue } from '../worker/heartbeat.js'
import type { Patient } from './patient.js'

export interface WorkerRow {
  readonly id: string
  readonly name: string
  readonly host: string
  readonly pid: number
  readonly version: string
  readonly seenMs: number
  /** Holds its presence lock. */
  readonly isHeld: boolean
  /** A session listens for it, as far as this role is shown. */
  readonly isListening: boolean
  /** What it says that it consumes. */
  readonly consumers: readonly ServedQueue[]
  readonly state: WorkerState
}

type Row = Omit<WorkerRow, 'consumers' | 'state'> & {
  readonly rescueAfterMs: number
  readonly hungAfterMs: number
  readonly consumers: string
}

/** Every worker's row, and what can be seen from outside: the row itself says for how long the worker may be silent. */
export async function readWorkers(patient: Patient): Promise<readonly WorkerRow[]> {
  const rows = await patient.ask<Row>('workers')
  return rows.map(({ rescueAfterMs, hungAfterMs, ...row }) => ({
    ...row,
    consumers: JSON.parse(row.consumers) as ServedQueue[],
    state: workerState({ isLockHeld: row.isHeld, seenMsAgo: row.seenMs, rescueAfterMs, hungAfterMs }),
  }))
}
