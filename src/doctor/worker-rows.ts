import type { Patient } from './patient.js'

/** What a worker says that it consumes. */
export interface ConsumerRow {
  readonly queue: string
  readonly concurrency: number
  /** null: all. */
  readonly kinds: readonly string[] | null
  readonly isPaused: boolean
}

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
  readonly consumers: readonly ConsumerRow[]
  /** live: connected, or seen lately; dead: neither; hung: connected, and silent for too long. */
  readonly state: 'live' | 'dead' | 'hung'
}

type Row = Omit<WorkerRow, 'consumers' | 'state'> & {
  readonly rescueAfterMs: number
  readonly hungAfterMs: number
  readonly consumers: string
}

/** Every worker's row, and what can be told from outside: its own word says for how long it may be silent. */
export async function readWorkers(patient: Patient): Promise<readonly WorkerRow[]> {
  const rows = await patient.ask<Row>('workers')
  return rows.map(({ rescueAfterMs, hungAfterMs, ...row }) => ({
    ...row,
    consumers: JSON.parse(row.consumers) as ConsumerRow[],
    state: row.isHeld
      ? row.seenMs >= Math.max(hungAfterMs, rescueAfterMs)
        ? 'hung'
        : 'live'
      : row.seenMs >= rescueAfterMs
        ? 'dead'
        : 'live',
  }))
}
