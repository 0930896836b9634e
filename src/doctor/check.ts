import type { Patient } from './patient.js'

/** What the doctor looks at, in this order. */
export type CheckName =
  | 'connection'
  | 'pooler'
  | 'listen'
  | 'clock'
  | 'connections'
  | 'notification-queue'
  | 'vacuum-horizon'
  | 'schema'
  | 'drift'
  | 'triggers'
  | 'ids'
  | 'autovacuum'
  | 'bloat'
  | 'express'
  | 'workers'
  | 'listeners'
  | 'long-running'
  | 'unserved'
  | 'paused'
  | 'calm'

export type FindingStatus =
  | 'ok'
  /** Something that jobs suffer from, or soon will. */
  | 'trouble'
  /** Worth knowing, and perhaps meant so. */
  | 'note'
  /** Could not be looked at; the message says why. */
  | 'skipped'

/** What a check found. */
export interface Diagnosis {
  readonly status: FindingStatus
  /** One line, which names the thing and what it does to jobs. */
  readonly message: string
  /** A command or SQL that can be pasted, or lines of them. null: none is needed, or the message says what to do. */
  readonly remedy?: string | null
  /** For programs. */
  readonly details?: Readonly<Record<string, unknown>>
}

export interface Finding extends Required<Diagnosis> {
  readonly check: CheckName
}

/**
 * One look. It changes nothing in the database, waits for no lock, and its statements are bounded.
 *
 * What it throws does not end the others: it is reported as a check that could not be made.
 */
export interface Check {
  readonly name: CheckName
  /** Those without which it has nothing to look at: where one of them found trouble, it is left out. */
  readonly needs: readonly CheckName[]
  /** @returns one or more */
  look(patient: Patient): Promise<readonly Diagnosis[]>
}

export const ok = (message: string, details: Diagnosis['details'] = {}): Diagnosis => ({
  status: 'ok',
  message,
  details,
})
