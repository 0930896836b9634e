import type { Bugle, ConsumeOptions, Consumer, Job, JobContext } from '../../src/index.js'
import { signal } from './database.js'
import { test as base, type Gate } from './gates.js'
import { aborted } from './stopping.js'

/** A job of the queue `q` whose handler has begun. */
export interface RunningJob {
  /** The instance that put the job and runs it. */
  readonly bugle: Bugle
  readonly consumer: Consumer
  readonly id: string
  /** The handler waits here until the test resolves it. The end of the test resolves it at the latest. */
  readonly end: Gate
}

export interface RunningJobOptions {
  /** By default a new instance. */
  readonly bugle?: Bugle
  /** Runs every job of the queue, the ones that the test puts later too. By default it waits for `end`, then acks. */
  readonly handler?: (job: Job, context: JobContext<Bugle>, untilEnd: Promise<void>) => unknown
  readonly consume?: ConsumeOptions
  /** By default 1. */
  readonly payload?: unknown
}

export const test = base.extend<{ runningJob: (options?: RunningJobOptions) => Promise<RunningJob> }>({
  runningJob: async ({ db, gate }, use) => {
    await use(async (options = {}) => {
      const {
        bugle = db.bugle(),
        handler = (_job, _context, untilEnd) => untilEnd,
        consume = {},
        payload = 1,
      } = options
      const begun = signal()
      const end = gate()
      const consumer = await bugle.consume(
        'q',
        (job, context) => {
          begun.resolve()
          return handler(job, context, end.promise)
        },
        consume,
      )
      const id = await bugle.put('q', payload)
      await begun.promise
      return { bugle, consumer, id, end }
    })
  },
})

/** A handler that a stop interrupts: it waits for the abort of its signal, then throws the reason. */
export async function interruptible(_job: Job, context: Pick<JobContext, 'signal'>): Promise<never> {
  throw await aborted(context)
}
