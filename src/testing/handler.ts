import { BugleError } from '../errors.js'
import type { Job, JobContext } from '../job.js'

/**
 * A job as a handler sees it, for tests that call the handler themselves, without a database: the first attempt of job
 * 1 in the queue 'test', unless `fields` say otherwise.
 */
export function testJob<Payload>(payload: Payload, fields: Partial<Omit<Job, 'payload'>> = {}): Job<Payload> {
  const createdAt = new Date()
  return Object.freeze({
    id: '1',
    queue: 'test',
    kind: null,
    attempt: 1,
    maxAttempts: null,
    crashes: 0,
    priority: 0,
    key: null,
    flags: [],
    progress: null,
    createdAt,
    runAt: createdAt,
    ...fields,
    payload,
  })
}

/** What `testContext` takes; what is left out is not there for the handler. */
export interface TestContextFields<Owner = unknown, Context = unknown> {
  /** `ctx.context` */
  readonly context?: Context | undefined
  /** `ctx.bugle`: an instance, or what stands for one. */
  readonly bugle?: Owner | undefined
  /** Default: one that is never aborted. */
  readonly signal?: AbortSignal | undefined
  /** Default: it throws, since there is no database. */
  readonly ack?: JobContext['ack'] | undefined
}

/** The second argument of a handler, for tests that call it themselves. */
export function testContext<Owner = unknown, Context = unknown>(
  fields: TestContextFields<Owner, Context> = {},
): JobContext<Owner, Context> {
  return {
    workerId: '1',
    signal: fields.signal ?? new AbortController().signal,
    bugle: fields.bugle as Owner,
    context: fields.context as Context,
    ack:
      fields.ack ??
      (async () => {
        throw new BugleError(
          'INVALID_OPTION',
          'ctx.ack: a test context has no database; give testContext({ ack }), or use runOne',
        )
      }),
  }
}
