// A process of its own that consumes through outages. Started by fork(); needs a build (dist/).
// node outage-process.mjs <{ connectionString, schema, queue, concurrency, rescueAfterMs } as JSON>
//
// Handlers take some milliseconds and never fail; acked jobs are kept in the archive. It sends its parent
// { did: 'consume' }, { did: 'event', name, data } and, after 'stop', { did: 'stop', report }.
import { setTimeout as sleep } from 'node:timers/promises'
import { createBugle } from '../../dist/index.js'

const { connectionString, schema, queue, concurrency, rescueAfterMs } = JSON.parse(process.argv[2] ?? '{}')
const silent = { info: () => {}, warn: () => {}, error: () => {} }
const bugle = createBugle({ connectionString, schema, name: 'outage', sweepMs: 1_000, rescueAfterMs, logger: silent })

/** @param {object} message */
const tell = (message) => void process.send?.(message)
const told = /** @type {const} */ ([
  'database:down',
  'database:up',
  'job:acked',
  'job:failed',
  'job:stale',
  'worker:rescued',
  'worker:lost',
])
for (const name of told)
  bugle.on(name, ({ ...data }) => tell({ did: 'event', name, data: { ...data, error: undefined } }))

const consumer = await bugle.consume(queue, () => sleep(5 + Math.random() * 20), { concurrency, keep: 'all' })

process.on('message', async () => {
  const report = await consumer.stop()
  await bugle.close()
  tell({ did: 'stop', report })
  process.disconnect()
})
// A parent that is gone asks for nothing any more.
process.on('disconnect', () => process.exit())
tell({ did: 'consume' })
