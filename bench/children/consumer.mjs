// A process that consumes with Bugle, with default options but for what its args say. Started by spawnChild().
//
// Args: { url, schema, name, queues, concurrency, handlerMs: a number, or null: handlers last until 'letGo' }
// Asked: 'consume', answered when every consumer is awake and listening; 'count': what it has done, cheaply; 'runs':
// every run; 'letGo'; 'pause', answered when what ran is settled; 'stop', answered with nothing: the process ends.
import { setTimeout as sleep } from 'node:timers/promises'
import { createBugle } from '../../dist/index.js'
import { childArgs, nowMs, onMessage } from '../processes.mjs'

const { url, schema = 'bugle', name, queues = [], concurrency, handlerMs = 0 } = childArgs()
const quiet = () => {}
const bugle = createBugle({ connectionString: url, schema, name, logger: { info: quiet, warn: quiet, error: quiet } })

/** @type {number[]} */
const ids = []
/** Of jobs that know when they were put: until their handler started. @type {number[]} */
const waitsMs = []
/** @type {import('../../dist/index.js').Consumer[]} */
const consumers = []
let letGo = () => {}
const gone = handlerMs === null ? new Promise((resolve) => (letGo = () => resolve(undefined))) : undefined

/** @param {import('../../dist/index.js').Job<any>} job */
async function handler(job) {
  const { putAt } = job.payload ?? {}
  if (putAt !== undefined) waitsMs.push(nowMs() - putAt)
  ids.push(Number(job.id))
  if (handlerMs === null) await gone
  else if (handlerMs > 0) await sleep(handlerMs)
}

onMessage({
  async consume() {
    const isLive = new Promise((resolve) => {
      bugle.on('listener:health', ({ to }) => {
        if (to === 'live') resolve(undefined)
      })
    })
    for (const queue of queues) {
      consumers.push(await bugle.consume(queue, handler, concurrency === undefined ? {} : { concurrency }))
    }
    await isLive
    return true
  },
  count() {
    const { user, system } = process.cpuUsage()
    return {
      runs: ids.length,
      rssMb: process.memoryUsage.rss() / 2 ** 20,
      /** Since the process began; in kilobytes. */
      peakRssMb: process.resourceUsage().maxRSS / 2 ** 10,
      cpuMs: (user + system) / 1_000,
    }
  },
  runs: () => ({ ids: Float64Array.from(ids), waitsMs: Float64Array.from(waitsMs) }),
  letGo: () => letGo(),
  async pause() {
    for (const consumer of consumers) await consumer.pause()
    while (consumers.some(({ activeJobs }) => activeJobs > 0)) await sleep(5)
    return true
  },
  async stop() {
    await bugle.close()
    process.exit()
  },
})
