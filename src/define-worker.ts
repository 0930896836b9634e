import type { Bugle } from './bugle.js'
import { knownKeys } from './checks.js'
import type { Codec } from './codec.js'
import type { ConsumeOptions } from './consume/options.js'
import type { BugleOptions } from './options.js'
import type { HandlersOf, JobOf, QueueMap } from './queues.js'

/** What a module tells `bugle work`: as its default export, or each of these as an export of its own. */
export interface WorkerDefinition<Queues extends object = QueueMap, Context = unknown> {
  /** By queue: a function for every job, or an object with one for each kind. */
  readonly queues: {
    readonly [Queue in keyof Queues & string]?: HandlersOf<Queues[Queue], Bugle<Queues, Context>, Context>
  }
  /** Options of `consume`, by queue. */
  readonly options?:
    | {
        readonly [Queue in keyof Queues & string]?:
          | ConsumeOptions<JobOf<Queues[Queue]>, Bugle<Queues, Context>, Context>
          | undefined
      }
    | undefined
  /**
   * Options of `createBugle`: schemas, codec, middleware, context, times. With a codec write
   * `defineWorker<WithCodec<Queues>>`: handlers are given what was put.
   */
  readonly bugle?: BugleOptions<Bugle<Queues, Context>, Context, Codec> | undefined
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
