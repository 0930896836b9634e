// A worker process beside a full NOTIFY queue: it does as its jobs' plans say, and writes every run and everything that
// it is told into the journal. Started by fork().
// node worker.mjs <{ bugleUrl, name, connectionString, journal, options } as JSON>
//
// Asked: { graceMs, abortMs }: stop. Tells: { did: 'consumes' }; { did: 'log', text } of what is out of the ordinary.
import { setTimeout as sleep } from 'node:timers/promises'
import { openJournal } from '../journal.mjs'
import { plannedError, queue } from './plan.mjs'

const { bugleUrl, name, connectionString, journal: path, options } = JSON.parse(process.argv[2] ?? '{}')
/** @type {typeof import('../../../dist/index.js')} */
const { createBugle, reject, release, retry } = await import(bugleUrl)
const journal = openJournal(path, name)

/** @param {object} message */
const tell = (message) => void process.send?.(message, () => {})

/** @typedef {import('../../../dist/index.js').Job<import('./plan.mjs').Plan>} PlannedJob */

/** @type {(job: PlannedJob, signal: AbortSignal) => Promise<unknown>} */
async function run(job, signal) {
  const { mode, ms, putAt } = job.payload
  await sleep(ms, undefined, { signal })
  switch (mode) {
    case 'throw':
      if (job.attempt === 1) throw new Error(plannedError)
      return 'done'
    case 'retry':
      return job.attempt === 1 ? retry({ delayMs: 100, reason: plannedError }) : 'done'
    case 'release':
      return Date.now() < putAt + 1_000 ? release({ delayMs: 300 }) : 'done'
    case 'reject':
      return reject(plannedError)
    case 'exhaust':
      throw new Error(plannedError)
    default:
      return 'done'
  }
}

/** @type {(job: PlannedJob, context: import('../../../dist/index.js').JobContext) => Promise<unknown>} */
async function handler(job, { signal, workerId }) {
  const about = { token: job.payload.token, id: job.id, attempt: job.attempt, workerId }
  journal.write({ did: 'start', ...about, lateMs: Date.now() - job.payload.putAt - job.payload.delayMs })
  try {
    const returned = await run(job, signal)
    const as = returned === 'done' ? 'ack' : /** @type {{ type: string }} */ (returned).type
    journal.write({ did: 'end', ...about, as })
    return returned
  } catch (error) {
    journal.write({ did: 'end', ...about, as: signal.aborted ? 'aborted' : 'throw' })
    throw error
  }
}

const bugle = createBugle({ connectionString, name, ...options })

for (const event of /** @type {const} */ (['job:acked', 'job:failed', 'job:retrying', 'job:released'])) {
  bugle.on(event, (data) => {
    const why = 'error' in data ? { message: data.error.message } : {}
    const cause = 'cause' in data ? { cause: data.cause } : {}
    journal.write({ did: 'told', as: event.slice(4), id: data.id, attempt: data.attempt, ...why, ...cause })
  })
}
for (const event of /** @type {const} */ (['job:interrupted', 'job:stale', 'worker:lost', 'worker:rescued'])) {
  bugle.on(event, (data) => journal.write({ did: event, ...data }))
}
for (const event of /** @type {const} */ ([
  'listener:health',
  'claim:error',
  'database:down',
  'consumer:unprotected',
])) {
  bugle.on(event, (data) => {
    const error = 'error' in data ? `: ${data.error.message}` : ''
    const health = 'to' in data ? ` ${data.to}` : 'reason' in data ? ` ${data.reason} ${data.pid}` : ''
    tell({ did: 'log', text: `${event}${health}${error}` })
  })
}

process.on('message', async (/** @type {{ graceMs: number, abortMs: number }} */ times) => {
  await bugle.close(times)
  process.exit(0)
})
process.on('disconnect', () => process.exit(1))

try {
  // @ts-expect-error the payload of this queue is a plan
  await bugle.consume(queue, handler, {
    concurrency: 5,
    keep: 'all',
    retryStrategy: { maxAttempts: 10_001, delaysMs: [50, 100, 300] },
  })
  tell({ did: 'consumes' })
} catch (error) {
  // A stop that came before the start was over.
  if (/** @type {{ code?: string }} */ (error).code !== 'CLOSED') throw error
}
