// A worker process whose connections are reset: it does as its jobs' plans say, and writes every run and every outcome
// that it is told into the journal. Started by fork().
// node worker.mjs <{ bugleUrl, name, connectionString, journal, queue, prepare } as JSON>
//
// Asked: anything: stop. Tells: { did: 'consumes' }; { did: 'log', text } of what is out of the ordinary.
import { stat } from 'node:fs/promises'
import { setImmediate as immediate, setTimeout as sleep } from 'node:timers/promises'
import { openJournal } from '../journal.mjs'
import { plannedError } from '../plan.mjs'
import { steps, throws } from './plan.mjs'

const { bugleUrl, name, connectionString, journal: path, queue, prepare } = JSON.parse(process.argv[2] ?? '{}')
/** @type {typeof import('../../../dist/index.js')} */
const { createBugle, partial, reject } = await import(bugleUrl)
const journal = openJournal(path, name)

/** @param {object} message */
const tell = (message) => void process.send?.(message, () => {})

/** @type {Readonly<Record<import('./plan.mjs').Wait, () => unknown>>} */
const waits = {
  turn: () => {},
  immediate: () => immediate(),
  reads,
  timer: () => sleep(Math.random() * 20),
  busy() {
    const until = performance.now() + 1 + Math.random() * 9
    while (performance.now() < until);
    return reads()
  },
}

/** Some, so that it ends beside whatever else is read in the same turn of the event loop. */
async function reads() {
  for (let left = Math.random() * 10; left > 0; left -= 1) await stat(path)
}

/** @param {import('../../../dist/index.js').Job<import('./plan.mjs').Plan>} job */
async function handler({ id, attempt, payload, progress }) {
  const { token, mode, wait } = payload
  const step = /** @type {{ step: number } | null} */ (progress)?.step ?? 0
  journal.write({ did: 'start', token, id, attempt, step })
  const waited = waits[wait]()
  // Those of `turn` have nothing to wait for.
  if (waited !== undefined) await waited
  if (mode === 'steps' && step < steps) return partial({ step: step + 1 }, { delayMs: 0 })
  if (mode === 'retry' && attempt <= throws) throw new Error(plannedError)
  if (mode === 'reject') return reject(plannedError)
  return 'done'
}

const bugle = createBugle({ connectionString, name, prepare })
for (const event of /** @type {const} */ (['job:acked', 'job:failed', 'job:retrying', 'job:partial'])) {
  bugle.on(event, ({ id, attempt }) => journal.write({ did: 'told', as: event.slice(4), id, attempt }))
}
for (const event of /** @type {const} */ (['job:stale', 'job:interrupted', 'worker:lost', 'worker:rescued'])) {
  bugle.on(event, (data) => journal.write({ did: event, ...data }))
}
for (const event of /** @type {const} */ (['listener:health', 'claim:error', 'database:down', 'callback:error'])) {
  bugle.on(event, (data) => {
    const error = 'error' in data ? `: ${data.error.message}` : ''
    const health = 'to' in data ? ` ${data.to}` : ''
    tell({ did: 'log', text: `${event}${health}${error}` })
  })
}

process.on('message', async () => {
  await bugle.close({ graceMs: 3_000, abortMs: 1_000 })
  process.exit(0)
})
process.on('disconnect', () => process.exit(1))

// @ts-expect-error the payload of these queues is a plan
await bugle.consume(queue, handler, {
  concurrency: 5,
  keep: 'all',
  retryStrategy: { maxAttempts: 101, delaysMs: 20 },
})
tell({ did: 'consumes' })
