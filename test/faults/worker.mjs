// A worker process of a fault run: two consumers, which do as their jobs' plans say, and one of bursts. Started by
// fork().
// node worker.mjs <{ bugleUrl, name, connectionString, listenConnectionString, options, journal } as JSON>
//
// Tells: { did: 'consume' }; { did: 'event', name, text } of what is out of the ordinary; { did: 'ended', ends } of
// jobs told as acked or failed; and when it was asked to stop, { did: 'stop', reports, ms }.
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { consumeBursts } from './bursts/handler.mjs'
import { burstQueue } from './bursts/plan.mjs'
import { connectionError, plannedError, queues } from './plan.mjs'
import { tellRemarkable } from './remarkable.mjs'

/** @typedef {import('../../dist/index.js').Job<import('./plan.mjs').Plan>} PlannedJob */
/** @typedef {import('../../dist/index.js').JobContext} Context */

const { bugleUrl, name, connectionString, listenConnectionString, options, journal } = JSON.parse(
  process.argv[2] ?? '{}',
)
/** @type {typeof import('../../dist/index.js')} */
const { createBugle, partial, reject, release, retry } = await import(bugleUrl)

/** @param {object} message */
const tell = (message) => void process.send?.(message, () => {})

/** @type {import('../../dist/index.js').Consumer[]} */
const consumers = []

// The handlers' own connections, by the same way as Bugle's.
const pool = new pg.Pool({
  connectionString,
  application_name: `${name} handler`,
  max: 20,
  connectionTimeoutMillis: 3_000,
  query_timeout: 5_000,
})
// A session that breaks between two queries of a transaction.
pool.on('connect', (client) => client.on('error', () => {}))
pool.on('error', () => {})

class HandlerConnectionError extends Error {
  /** @override */
  name = connectionError
}

/**
 * @template Result
 * @param {Promise<Result>} query
 */
const asked = (query) =>
  query.catch((error) => {
    // Of ctx.ack: somebody else has the job.
    if (error.code === 'LEASE_LOST') throw error
    throw new HandlerConnectionError(error.message, { cause: error })
  })

const insertRun = 'insert into fault.run (job, token, attempt, worker_id, in_tx) values ($1, $2, $3, $4, $5)'
/** @type {(job: PlannedJob, context: Context, inTx: boolean) => unknown[]} */
const runRow = (job, { workerId }, inTx) => [job.id, job.payload.token, job.attempt, workerId, inTx]

/** @type {(job: PlannedJob, context: Context) => Promise<void>} */
async function inTransaction(job, context) {
  const client = await asked(pool.connect())
  try {
    await asked(client.query('begin'))
    await asked(client.query(insertRun, runRow(job, context, true)))
    await sleep(job.payload.ms)
    await asked(context.ack(client, 'done'))
    await asked(client.query('commit'))
    client.release()
  } catch (error) {
    // Perhaps committed: nobody may use this session again to find out.
    client.release(true)
    throw error
  }
}

/** @param {number} ms */
function block(ms) {
  const until = performance.now() + ms
  while (performance.now() < until);
}

/** @type {(job: PlannedJob, context: Context) => Promise<unknown>} */
async function handler(job, context) {
  const { mode, ms, token } = job.payload
  if (mode === 'tx') return inTransaction(job, context)
  await asked(pool.query(insertRun, runRow(job, context, false)))
  if (mode === 'block') block(ms)
  else if (mode === 'slow') await sleep(ms, undefined, { signal: context.signal })
  else await sleep(ms)
  switch (mode) {
    case 'throw':
      if (job.attempt <= 2) throw new Error(plannedError)
      return
    case 'retry':
      return job.attempt === 1 ? retry({ delayMs: 100, reason: plannedError }) : undefined
    case 'partial':
      return job.progress === null ? partial({ step: 1 }, { delayMs: 50 }) : undefined
    case 'release': {
      const { rows } = await asked(pool.query('select count(*)::int as runs from fault.run where token = $1', [token]))
      return rows[0].runs === 1 ? release({ delayMs: 50 }) : undefined
    }
    case 'reject':
      return reject(plannedError)
    case 'exhaust':
      throw new Error(plannedError)
  }
}

const bugle = createBugle({
  connectionString,
  ...(listenConnectionString && { listenConnectionString }),
  name,
  ...options,
})

/** @type {{ id: string, workerId: string, attempt: number, as: 'archived' | 'failed' }[]} */
let ends = []
setInterval(() => {
  if (ends.length > 0) tell({ did: 'ended', ends })
  ends = []
}, 100)
bugle.on('job:acked', ({ queue, id, workerId, attempt }) => {
  if (queue !== burstQueue) ends.push({ id, workerId, attempt, as: 'archived' })
})
bugle.on('job:failed', ({ id, workerId, attempt }) => ends.push({ id, workerId, attempt, as: 'failed' }))

const remarkable = /** @type {const} */ ([
  'job:stale',
  'job:stuck',
  'job:interrupted',
  'worker:lost',
  'worker:rescued',
  'worker:lag',
  'database:down',
  'database:up',
  'claim:error',
  'callback:error',
  'consumer:unprotected',
])
tellRemarkable(bugle, remarkable, tell)

process.on('message', async (/** @type {{ do: 'stop', graceMs: number, abortMs: number }} */ { graceMs, abortMs }) => {
  const startedAt = performance.now()
  try {
    await bugle.close({ graceMs, abortMs })
    const reports = await Promise.all(consumers.map((consumer) => consumer.stopped))
    const message = { did: 'stop', reports, ms: performance.now() - startedAt }
    if (ends.length > 0) tell({ did: 'ended', ends })
    process.send?.(message, () => process.exit(0))
  } catch (error) {
    console.error('the stop threw', error)
    process.exit(1)
  }
})
process.on('disconnect', () => process.exit(1))

try {
  for (const [index, queue] of queues.entries()) {
    // @ts-expect-error the payload of these queues is a plan
    const consumer = await bugle.consume(queue, handler, {
      concurrency: index === 0 ? 10 : 4,
      keep: 'all',
      retryStrategy: { maxAttempts: 10_001, delaysMs: [50, 100, 300] },
    })
    consumers.push(consumer)
  }
  consumers.push(await consumeBursts(bugle, name, journal))
  tell({ did: 'consume' })
} catch (error) {
  // A stop that came before the start was over.
  if (/** @type {{ code?: string }} */ (error).code !== 'CLOSED') throw error
}
