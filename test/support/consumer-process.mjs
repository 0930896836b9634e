// A process of its own that consumes, for tests with several of them. Started by fork(); needs a build (dist/).
// node consumer-process.mjs <{ connectionString, schema, queue, concurrency } as JSON>
//
// Each run is recorded in the table `run (job, pid)` of the schema. The parent sends 'go', 'idle' and 'stop'; it is
// told { did: 'consume' }, { did: 'hold' } when the first handler has begun (handlers are held until 'go'),
// { did: 'idle' }, and { did: 'stop', report }.
import postgres from 'postgres'
import { createBugle } from '../../dist/index.js'

const { connectionString, schema, queue, concurrency } = JSON.parse(process.argv[2] ?? '{}')
const sql = postgres(connectionString, { max: 4, connection: { search_path: `"${schema}"` } })
const bugle = createBugle({ connectionString, schema, name: 'process', sweepMs: 0, logger: false })

/** @param {object} message */
const tell = (message) => process.send?.(message)
let go = () => {}
/** @type {Promise<void>} */
const gone = new Promise((resolve) => {
  go = resolve
})
let hasBegun = false

const consumer = await bugle.consume(
  queue,
  async (job) => {
    if (!hasBegun) tell({ did: 'hold' })
    hasBegun = true
    await gone
    await sql`insert into run (job, pid) values (${job.id}, ${process.pid})`
  },
  { concurrency },
)

process.on('message', async (asked) => {
  if (asked === 'go') go()
  if (asked === 'idle') await consumer.idle().then(() => tell({ did: 'idle' }))
  if (asked === 'stop') {
    const report = await consumer.stop()
    await bugle.close()
    await sql.end()
    tell({ did: 'stop', report })
    process.disconnect()
  }
})
// A parent that is gone asks for nothing any more.
process.on('disconnect', () => process.exit())
tell({ did: 'consume' })
