/**
 * What the processes of the demo say to each other: in jobs, and over the channel between parent and child.
 */
import type { PathInJob } from './paths.js'
import type { DemoNames } from './statements.js'

/** The one queue of the demo. */
export const queue = 'demo'
export type Queues = { [queue]: DemoJob }

export type DemoJob = FileJob | WakeJob

/** Hash and gzip this file. */
export interface FileJob extends PathInJob {
  readonly type: 'file'
}

/** Say how long ago this was put. */
export interface WakeJob {
  readonly type: 'wake'
  readonly number: number
  /** `process.hrtime.bigint()` just before the put: on one machine the same clock in every process. */
  readonly putAtNs: string
}

/** From the main process to a worker. */
export type Order =
  | {
      readonly do: 'start'
      readonly number: number
      readonly connectionString: string
      /** The connection of a role that may drop what the run has made: for a worker that is left alone. */
      readonly ownerConnectionString: string
      readonly names: DemoNames
      readonly folder: string
      /** The queue of the user's own job. */
      readonly ownQueue: string
    }
  /** Answer `idle` when nothing runs and the queue was seen empty. */
  | { readonly do: 'idle' }
  /** Drop what is running, and end. */
  | { readonly do: 'stop' }

/** The user's own job, as its handler was given it. */
export interface OwnRun {
  readonly is: 'own'
  readonly id: string
  readonly payload: unknown
  readonly attempt: number
  readonly pid: number
}

/** From a worker to the main process. */
export type Answer =
  | { readonly is: 'started' }
  | { readonly is: 'failed'; readonly reason: string }
  /** Jobs settled so far: their outcome is durable. `lastAtNs`: when the last of them was. */
  | { readonly is: 'counted'; readonly settled: number; readonly lastAtNs: string }
  | { readonly is: 'idle' }
  | OwnRun
  | { readonly is: 'woken'; readonly number: number; readonly afterNs: string }
  /** The database is away (`reason`), or back (null). */
  | { readonly is: 'database'; readonly reason: string | null }
