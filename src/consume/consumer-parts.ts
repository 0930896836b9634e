import type { Database, Query } from '../database/database.js'
import type { Events } from '../events.js'
import type { Payloads } from '../payloads.js'
import type { Worker } from '../worker/worker.js'
import type { SuspectTurn } from './claim/suspects.js'
import type { ConsumerOptions } from './options.js'
import type { Handlers } from './run/handlers.js'
import type { StepLimit } from './step.js'

export interface ConsumerParts {
  readonly queue: string
  readonly handlers: Handlers
  readonly options: ConsumerOptions
  /** null: it claims whatever there is. */
  readonly limit: StepLimit | null
  /** Whether the instance listens at all. */
  readonly listens: boolean
  /** Of the instance. */
  readonly prepares: boolean
  readonly hungAfterMs: number
  readonly bugle: unknown
  readonly payloads: Payloads
  readonly database: Database
  readonly worker: Worker
  /** All consumers of the worker share it. */
  readonly suspectTurn: SuspectTurn
  readonly events: Events
  /** A run goes on and on, and has no time-out: called once for each consumer. */
  readonly onLongRun: (message: string) => void
  /** For outcomes: also after the instance is closed. */
  readonly settle: Query
  readonly random: () => number
}
