// A worker process of the failover run: it consumes the common queue and one of its own, and acks every job at once.
// Started by fork(). node failover-worker.mjs <{ bugleUrl, name, connectionString } as JSON>
//
// Tells: { did: 'consume' }; { did: 'run' | 'ack', token, attempt, workerId } of each run and each durable ack;
// { did: 'event', name, text } of what is out of the ordinary.
import { tellRemarkable } from './remarkable.mjs'

const { bugleUrl, name, connectionString } = JSON.parse(process.argv[2] ?? '{}')
/** @type {typeof import('../../dist/index.js')} */
const { createBugle } = await import(bugleUrl)

/** @param {object} message */
const tell = (message) => void process.send?.(message, () => {})

const bugle = createBugle({ connectionString, name, rescueAfterMs: 2_000 })
/** @type {Map<string, number>} */
const tokens = new Map()

/**
 * @param {import('../../dist/index.js').Job<{ token: number }>} job
 * @param {import('../../dist/index.js').JobContext} context
 */
function handler({ id, payload: { token }, attempt }, { workerId }) {
  tokens.set(`${id} ${attempt} ${workerId}`, token)
  tell({ did: 'run', token, attempt, workerId })
}
bugle.on('job:acked', ({ id, attempt, workerId }) => {
  const token = tokens.get(`${id} ${attempt} ${workerId}`)
  tell({ did: 'ack', token, attempt, workerId })
})

const remarkable = /** @type {const} */ ([
  'job:stale',
  'job:failed',
  'job:retrying',
  'listener:health',
  'worker:lost',
  'worker:rescued',
  'database:down',
  'database:up',
  'database:moved',
  'database:outdated',
  'claim:error',
  'consumer:unprotected',
])
tellRemarkable(bugle, remarkable, tell)

process.on('message', async () => {
  await bugle.close({ graceMs: 2_000, abortMs: 1_000 })
  process.exit(0)
})
process.on('disconnect', () => process.exit(1))

for (const queue of ['common', name]) {
  // @ts-expect-error the payload of these queues has a token
  await bugle.consume(queue, handler, { concurrency: 5 })
}
tell({ did: 'consume' })
