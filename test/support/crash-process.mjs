// A process of its own that consumes, for tests in which processes die. Started by fork(); needs a build (dist/).
// node crash-process.mjs <{ connectionString, schema, queue, options, consumeOptions } as JSON>
//
// A job's payload says what its handler does: 'hold' (until the parent sends 'go'), 'wait' (for `ms`), 'block' (compute
// for `ms` without yielding), 'die' (end the process by SIGKILL), or nothing. The parent is told of each run
// ({ run: job }), of the reason why a run was aborted ({ aborted: id, code }) and of each event
// ({ event: name, data }). It sends 'go' and 'stop'.
import { createBugle } from '../../dist/index.js'

const { connectionString, schema, queue, options, consumeOptions } = JSON.parse(process.argv[2] ?? '{}')
const bugle = createBugle({ connectionString, schema, name: 'crash', sweepMs: 0, logger: false, ...options })
const { workerId } = bugle

/** @param {object} message */
const tell = (message) => process.send?.(message)
let go = () => {}
/** @type {Promise<void>} */
const gone = new Promise((resolve) => {
  go = resolve
})

tell({ created: workerId })
for (const name of /** @type {const} */ (['worker:lost', 'worker:lag', 'worker:rescued', 'job:acked', 'job:stale'])) {
  bugle.on(name, (data) => void tell({ event: name, data }))
}

const consumer = await bugle.consume(
  queue,
  async (job, ctx) => {
    ctx.signal.addEventListener('abort', () => tell({ aborted: job.id, code: ctx.signal.reason.code }))
    tell({ run: { id: job.id, attempt: job.attempt, crashes: job.crashes } })
    const { does, ms = 0 } = /** @type {{ does?: string, ms?: number }} */ (job.payload ?? {})
    if (does === 'hold') await gone
    if (does === 'wait') await new Promise((resolve) => setTimeout(resolve, ms))
    if (does === 'die') process.kill(process.pid, 'SIGKILL')
    // The parent's pipe is written first.
    if (does === 'block') await new Promise((resolve) => setTimeout(resolve, 10))
    if (does === 'block') for (const until = performance.now() + ms; performance.now() < until; );
  },
  { keep: 'all', ...consumeOptions },
)

process.on('message', async (asked) => {
  if (asked === 'go') go()
  if (asked === 'stop') {
    await consumer.stop()
    await bugle.close()
    process.disconnect()
  }
})
// A parent that is gone asks for nothing any more.
process.on('disconnect', () => process.exit())
tell({ consumes: true })
