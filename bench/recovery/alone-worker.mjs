// A worker process of the recovery bench, with default options. Started by fork().
// node alone-worker.mjs <{ connectionString, name } as JSON>
//
// Asked: { do: 'consume', queue, concurrency, holds }; { do: 'let-go', queue }: held handlers end;
// { do: 'stop', queue }.
// Tells, each with the time `at` of the machine's monotonic clock in ms:
// { did: 'consume' | 'start' | 'ack' | 'stop', queue }, and { did: 'health', to }.
import { createBugle } from '../../dist/index.js'

const { connectionString, name } = JSON.parse(process.argv[2] ?? '{}')
const quiet = () => {}
const bugle = createBugle({ connectionString, name, logger: { info: quiet, warn: quiet, error: quiet } })
/** @type {Map<string, { consumer: import('../../dist/index.js').Consumer, letGo: () => void }>} */
const consuming = new Map()

/** @param {object} message */
const tell = (message) => void process.send?.({ ...message, at: Number(process.hrtime.bigint()) / 1e6 })

bugle.on('listener:health', ({ to }) => tell({ did: 'health', to }))
bugle.on('job:acked', ({ queue }) => tell({ did: 'ack', queue }))

/** @param {string} queue @param {number} concurrency @param {boolean} holds */
async function consume(queue, concurrency, holds) {
  let letGo = () => {}
  const gone = holds ? new Promise((resolve) => (letGo = () => resolve(undefined))) : undefined
  const consumer = await bugle.consume(
    queue,
    async () => {
      tell({ did: 'start', queue })
      await gone
    },
    { concurrency },
  )
  consuming.set(queue, { consumer, letGo })
  if (!holds) await consumer.idle()
  tell({ did: 'consume', queue })
}

process.on('message', async (/** @type {any} */ { do: order, queue, concurrency, holds }) => {
  if (order === 'consume') await consume(queue, concurrency, holds)
  if (order === 'let-go') consuming.get(queue)?.letGo()
  if (order === 'stop') {
    await consuming.get(queue)?.consumer.stop()
    tell({ did: 'stop', queue })
  }
})
process.on('disconnect', () => process.exit())
