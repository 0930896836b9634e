import { setTimeout as sleep } from 'node:timers/promises'
import { openJournal } from '../journal.mjs'
import { plannedError } from '../plan.mjs'
import { burstQueue } from './plan.mjs'

/**
 * Consumes bursts. A handler writes down that it begins and that it has ended well, and what is told as acked is
 * written down too: into a file, since a statement would take longer than a lane's jobs may.
 *
 * @param {import('../../../dist/index.js').Bugle} bugle
 * @param {string} name of the process
 * @param {string} path of the journal
 */
export async function consumeBursts(bugle, name, path) {
  const journal = openJournal(path, name)
  /** @type {(did: string, about: { token: number, version: number }) => void} */
  const write = (did, { token, version }) => journal.write({ did, token, version, ms: Date.now() })
  /** Of those that run here, or whose end is not known yet. @type {Map<string, import('./plan.mjs').Burst>} */
  const running = new Map()
  bugle.on('job:acked', ({ queue, id }) => {
    const burst = queue === burstQueue && running.get(id)
    if (!burst) return
    write('told', burst)
    running.delete(id)
  })
  return bugle.consume(
    burstQueue,
    (job) => {
      const burst = /** @type {import('./plan.mjs').Burst} */ (job.payload)
      running.set(job.id, burst)
      write('run', burst)
      if (burst.throws && job.attempt === 1) throw new Error(plannedError)
      if (burst.ms === 0) return write('ran', burst)
      return sleep(burst.ms).then(() => write('ran', burst))
    },
    { concurrency: 10, retryStrategy: { maxAttempts: 10_001, delaysMs: [20] } },
  )
}
