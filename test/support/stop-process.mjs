// A process of its own that consumes and is told to end by signals. Started by fork(); needs a build (dist/).
// node stop-process.mjs <JSON: { connectionString, schema, queue, bugle, consume, handler, ms, former, close, stays,
//   also }>
//
// bugle, consume: options. handler: 'timer' and 'promise' wait for `ms` and end with the abort, 'busy' computes for
// `ms`, 'stubborn' waits for `ms` whatever happens, 'swallow' returns when it is aborted, 'never' does not end, 'quick'
// returns. former: the program has handlers for SIGINT and SIGTERM of its own, from before. stays: a timer keeps the
// process alive. also: a further queue, consumed once the first is. close: { graceMs, abortMs } with which the program
// closes by itself, once a handler has begun.
//
// It sends its parent { did: 'consume', listeners }, { did: 'begin', id, attempt }, { did: 'abort', code },
// { did: 'event', name, data }, { did: 'closed' } after a close of its own and { did: 'end', … } when nothing is left
// to do. Nothing here keeps the process alive but what is to be tested.
import { setTimeout as sleep } from 'node:timers/promises'
import { createBugle } from '../../dist/index.js'

const asked = JSON.parse(process.argv[2] ?? '{}')
const { connectionString, schema, queue, handler, ms } = asked
const signals = /** @type {const} */ (['SIGINT', 'SIGTERM'])

/** @param {object} message */
const tell = (message) => new Promise((resolve) => process.send?.(message, resolve))

let formerCalls = 0
const former = () => {
  formerCalls += 1
}
if (asked.former) for (const name of signals) process.on(name, former)
const listeners = () => signals.map((name) => process.listenerCount(name))
const before = listeners()

const bugle = createBugle({ connectionString, schema, name: schema, sweepMs: 0, logger: false, ...asked.bugle })
const told = /** @type {const} */ ([
  'job:started',
  'job:acked',
  'job:interrupted',
  'job:failed',
  'job:stale',
  'consumer:stopping',
  'consumer:stopped',
  'database:down',
])
for (const name of told) bugle.on(name, (data) => void tell({ did: 'event', name, data }))

/** @param {AbortSignal} signal */
const aborted = (signal) =>
  new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }))

/** @type {Record<string, (signal: AbortSignal) => unknown>} */
const handlers = {
  timer: (signal) => sleep(ms, undefined, { signal }),
  promise: (signal) => {
    // As a request to somewhere else would: it keeps the process alive, and is given up with the abort.
    const timer = setTimeout(() => {}, ms)
    return aborted(signal).finally(() => clearTimeout(timer))
  },
  busy() {
    const until = Date.now() + ms
    while (Date.now() < until);
  },
  stubborn: () => sleep(ms),
  swallow: (signal) => aborted(signal).catch(() => {}),
  never: () => new Promise(() => {}),
  quick: () => {},
}

const consumer = await bugle.consume(
  queue,
  async (job, ctx) => {
    if (handler !== 'busy') {
      ctx.signal.addEventListener('abort', () => void tell({ did: 'abort', code: ctx.signal.reason.code }), {
        once: true,
      })
    }
    await tell({ did: 'begin', id: job.id, attempt: job.attempt })
    if (asked.close) void close()
    await handlers[handler]?.(ctx.signal)
  },
  asked.consume,
)
if (asked.also) await (await bugle.consume(asked.also, () => {})).stopped

async function close() {
  await bugle.close(asked.close)
  await tell({ did: 'closed', report: await consumer.stopped })
}

if (asked.stays) setInterval(() => {}, 1_000)
// A parent that is gone wants no answer any more; but to listen for that must not keep the process alive.
process.on('disconnect', () => process.exit())
process.channel?.unref()
process.once('beforeExit', () => {
  const sameFormer = signals.every((name) => process.listeners(name).includes(former))
  void tell({ did: 'end', before, after: listeners(), sameFormer, formerCalls })
})
void consumer.stopped.then(() => tell({ did: 'stopped', listeners: listeners() }))
await tell({ did: 'consume', listeners: listeners() })
