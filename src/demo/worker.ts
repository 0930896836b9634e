/**
 * A worker process of the demo: one Bugle, one consumer. It does as the main process orders over their channel.
 */
import { type Bugle, type Consumer, createBugle } from '../index.js'
import { createHandler } from './handler.js'
import { type Answer, type Order, type Queues, queue } from './protocol.js'
import { connectionOf, openTables } from './tables.js'

/** Handlers at once. The hashing is the processor's work, so more than a few only wait for each other. */
const concurrency = 8
/** How often the main process hears of what is settled. */
const countEveryMs = 100
/** A worker without a main process has so long to tidy up. */
const orphanMs = 10_000

const giveUp = new AbortController()
let work: Work | null = null
let isStopping = false

// Ctrl-C and a closed terminal go to every process in it. The main process decides what to do, and tells us.
process.on('SIGINT', () => {})
process.on('SIGHUP', () => {})
process.on('message', (order: Order) => void obey(order).catch(fail))
process.on('disconnect', () => void orphaned())

async function obey(order: Order): Promise<void> {
  switch (order.do) {
    case 'start':
      work = await start(order)
      return say({ is: 'started' })
    case 'idle':
      await work?.consumer.idle()
      // The count comes before the answer, so that it is complete.
      work?.tellCount()
      return say({ is: 'idle' })
    case 'stop':
      isStopping = true
      giveUp.abort()
      await work?.end()
      process.exit(0)
  }
}

interface Work {
  readonly consumer: Consumer
  tellCount(): void
  /** Drop what the run has made. */
  tidyUp(): Promise<void>
  end(): Promise<void>
}

async function start(order: Order & { do: 'start' }): Promise<Work> {
  const { number, connectionString, names, folder } = order
  const name = `bugle-demo-${number}`
  const bugle = createBugle<Queues>({ connectionString, schema: names.jobs, name, poolSize: 4, logger: false })
  const tables = openTables(connectionOf(connectionString), names, name, 2)
  const counts = countSettled()
  // Of the demo's own work: the user's job is told by itself.
  const countOwn = (data: { readonly queue: string }): void => {
    if (data.queue === queue) counts.settled()
  }
  bugle.on('job:acked', countOwn)
  bugle.on('job:failed', countOwn)
  bugle.on('database:down', ({ error }) => say({ is: 'database', reason: error.message }))
  bugle.on('database:up', () => say({ is: 'database', reason: null }))
  const handler = createHandler({
    worker: number,
    folder,
    addResult: tables.addResult,
    tellWoken: (number, afterNs) => say({ is: 'woken', number, afterNs: String(afterNs) }),
    signal: giveUp.signal,
  })
  const consumer = await bugle.consume(queue, handler, { concurrency, signal: giveUp.signal })
  await (bugle as unknown as Bugle).consume(
    order.ownQueue,
    ({ id, payload, attempt }) => say({ is: 'own', id, payload, attempt, pid: process.pid }),
    { signal: giveUp.signal },
  )
  return {
    consumer,
    tellCount: counts.tell,
    async tidyUp() {
      const owner = openTables(connectionOf(order.ownerConnectionString), names, name, 1)
      await owner.drop().finally(owner.end)
    },
    async end() {
      counts.end()
      await bugle.close()
      await tables.end()
    },
  }
}

/** Tells the main process how many jobs are settled: now and then, and only if there were any. */
function countSettled(): { settled(): void; tell(): void; end(): void } {
  let settled = 0
  let lastAtNs = 0n
  let told = 0
  const timer = setInterval(tell, countEveryMs)

  function tell(): void {
    if (told === settled) return
    told = settled
    say({ is: 'counted', settled, lastAtNs: String(lastAtNs) })
  }

  return {
    settled() {
      settled += 1
      lastAtNs = process.hrtime.bigint()
    },
    tell,
    end: () => clearInterval(timer),
  }
}

/** The main process is gone without a word, killed perhaps. A worker that is left alone cleans up. */
async function orphaned(): Promise<void> {
  if (isStopping) return
  isStopping = true
  setTimeout(() => process.exit(1), orphanMs).unref()
  giveUp.abort()
  await work?.consumer.stop()
  // Both workers do it, and a server of the demo's own may be gone already: a failure here is nobody's concern.
  await work?.tidyUp().catch(() => {})
  await work?.end().catch(() => {})
  process.exit(1)
}

function fail(error: Error): void {
  if (isStopping) return
  say({ is: 'failed', reason: error.message })
}

function say(answer: Answer): void {
  // With a callback, a channel that is gone is no uncaught error.
  if (process.connected) process.send?.(answer, () => {})
}
