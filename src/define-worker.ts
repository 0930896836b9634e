import type { Bugle } from './bugle.js'
import { knownKeys } from './checks.js'
import type { BugleOptions, ConsumeOptions } from './options.js'
import type { HandlersOf, JobOf, QueueMap, QueueName } from './queues.js'

/** What a module tells `bugle work`: as its default export, or each of these as an export of its own. */
export interface WorkerDefinition<Queues extends object = QueueMap, Context = unknown> {
  /** By queue: a function for every job, or an object with one for each kind. */
  readonly queues: {
    readonly [Queue in QueueName<Queues>]?: HandlersOf<Queues[Queue], Bugle<Queues, Context>, Context>
  }
  /** Options of `consume`, by queue. */
  readonly options?: {
    readonly [Queue in QueueName<Queues>]?: ConsumeOptions<JobOf<Queues[Queue]>, Bugle<Queues, Context>, Context>
  }
  /** Options of `createBugle`: schemas, codec, middleware, context, times. */
  readonly bugle?: BugleOptions<Bugle<Queues, Context>, Context>
}

export const definitionNames = ['queues', 'options', 'bugle'] as const

/**
 * The default export of a module for `bugle work`, with its types. What else the module exports is left alone.
 *
 * @returns what it was given
 * @throws BugleError `INVALID_OPTION` for a name that is none of a definition
 * @example
 * ```ts
 * type Queues = { emails: { to: string } }
 *
 * export default defineWorker<Queues>({
 *   queues: { emails: async (job) => console.log(job.payload.to) },
 *   options: { emails: { concurrency: 2, timeoutMs: '5m' } },
 * })
 * ```
 */
export function defineWorker<Queues extends object = QueueMap, Context = unknown>(
  definition: WorkerDefinition<Queues, Context>,
): WorkerDefinition<Queues, Context> {
  knownKeys('defineWorker', definition, definitionNames)
  return definition
}
