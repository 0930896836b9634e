// One process of a fleet that sleeps on one queue: tells when it is ready, counts what it does, ends with its input.
// Arguments: connection string, schema, queue, milliseconds a handler takes, slots.
import { createBugle } from '../../dist/index.js'

const [connectionString = '', schema = '', queue = '', handlerMs = '0', concurrency = '10'] = process.argv.slice(2)

/** @param {object} message */
const tell = (message) => process.stdout.write(`${JSON.stringify(message)}\n`)

const bugle = createBugle({ connectionString, schema, sweepMs: 0, poolSize: 3, logger: false })
const consumer = await bugle.consume(
  queue,
  async (job) => {
    const { at } = /** @type {{ at: string }} */ (job.payload)
    // The monotonic clock is one for all processes of a machine.
    const latencyMs = Number(process.hrtime.bigint() - BigInt(at)) / 1e6
    tell({ id: job.id, latencyMs })
    if (Number(handlerMs) > 0) await new Promise((resolve) => setTimeout(resolve, Number(handlerMs)))
  },
  { concurrency: Number(concurrency) },
)
await consumer.idle()
tell({ ready: true })
process.stdin.on('end', async () => {
  await bugle.close()
  process.exit()
})
process.stdin.resume()
