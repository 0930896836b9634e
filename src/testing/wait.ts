import type { JobRecord, JobRecordOf } from '../admin/record.js'
import type { Bugle } from '../bugle.js'
import { knownKeys, queueName } from '../checks.js'
import { BugleError, textOf } from '../errors.js'
import { allEventNames, type EventSource } from '../events.js'
import { type WaitOptions, waitTime } from './collect.js'

/** What `waitForJob` takes. */
export interface WaitForJobOptions<Queue extends string = string> extends WaitOptions {
  /** Only jobs of this queue are looked at. Default: of all. */
  readonly queue?: Queue | undefined
  /** Ends the wait. */
  readonly signal?: AbortSignal | undefined
}

/**
 * How often it looks where no event says that something has changed: others put without an event, and other processes
 * run.
 */
const lookMs = 250
/** Jobs per look, the newest. */
const mostJobs = 1_000

/**
 * Wait until a job is as you expect it: put, scheduled, failed, archived…
 *
 * It looks at the table at once, after each event about a job of this instance, and every 250 ms otherwise: at the
 * newest 1,000 jobs, archived ones included. A job that was acked is gone, unless its consumer has `keep: 'all'`: for
 * its end wait by `collectEvents(bugle).next('job:acked')`.
 *
 * @returns the newest that matches
 * @throws BugleError `TIMEOUT`, with the jobs that were there instead; `INVALID_OPTION`, `DATABASE_DOWN`,
 *   `NOT_MIGRATED`, `CLOSED`; the signal's reason; what the predicate throws
 */
export async function waitForJob<Queues extends object, Context>(
  bugle: Bugle<Queues, Context>,
  predicate: (job: JobRecordOf<Queues>) => boolean,
  options: WaitForJobOptions<keyof Queues & string> = {},
): Promise<JobRecordOf<Queues>> {
  knownKeys('waitForJob options', options, ['queue', 'signal', 'timeoutMs'])
  const { queue, signal } = options
  const timeoutMs = waitTime(options)
  if (queue !== undefined) queueName(queue)
  const endsAt = performance.now() + timeoutMs
  const change = watchChanges(bugle as unknown as EventSource, signal)
  try {
    for (;;) {
      signal?.throwIfAborted()
      // Before the look: what happens during it is looked at once more.
      const changed = change.next()
      const { jobs, cursor } = await bugle.jobs({ limit: mostJobs, queue })
      const found = jobs.find(predicate)
      if (found !== undefined) return found
      const leftMs = endsAt - performance.now()
      if (leftMs <= 0) {
        const there = shown(jobs, cursor !== null)
        throw new BugleError('TIMEOUT', `no job matched within ${timeoutMs} ms; there ${there}`)
      }
      await changed(Math.min(lookMs, leftMs))
    }
  } finally {
    change.stop()
  }
}

/** Events about jobs, and the abort. */
function watchChanges(source: EventSource, signal: AbortSignal | undefined) {
  let hasChanged = false
  let wake = (): void => {}
  const raise = (): void => {
    hasChanged = true
    wake()
  }
  const names = allEventNames.filter((name) => name.startsWith('job:'))
  for (const name of names) source.on(name, raise)
  signal?.addEventListener('abort', raise)
  return {
    /** @returns waits for a change since this call, at most so many ms */
    next() {
      hasChanged = false
      return (ms: number): Promise<void> =>
        new Promise((resolve) => {
          const timer = setTimeout(done, ms)
          function done(): void {
            clearTimeout(timer)
            resolve()
          }
          wake = done
          if (hasChanged) done()
        })
    },
    stop() {
      for (const name of names) source.off(name, raise)
      signal?.removeEventListener('abort', raise)
    },
  }
}

const mostShown = 10

function shown(jobs: readonly JobRecord[], hasMore: boolean): string {
  if (jobs.length === 0) return 'was none'
  const lines = jobs.slice(0, mostShown).map(({ id, queue, kind, state, attempt, payload, error: last }) => {
    const what = `${id} ${JSON.stringify(queue)}${kind === null ? '' : ` (${kind})`} ${state}, attempt ${attempt}`
    const error = last?.message === undefined ? '' : `, last error: ${last.message.slice(0, 100)}`
    return `\n  ${what}, payload ${textOf(payload).slice(0, 100)}${error}`
  })
  const count = hasMore ? `more than ${jobs.length}` : String(jobs.length)
  const more = jobs.length > mostShown || hasMore ? '\n  …' : ''
  return `${jobs.length === 1 ? 'was 1' : `were ${count}`}:${lines.join('')}${more}`
}
