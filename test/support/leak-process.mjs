// A process of its own that starts and stops again and again, and then says what is left. Started by fork() with
// --expose-gc; needs a build (dist/).
// node leak-process.mjs <{ connectionString, schema, rounds } as JSON>
//
// The parent is told { did: 'rounds', … } when all rounds are over, and the process waits until it is told to end.
import { createBugle } from '../../dist/index.js'

const { connectionString, schema, rounds } = JSON.parse(process.argv[2] ?? '{}')
const signals = /** @type {const} */ (['SIGINT', 'SIGTERM'])
process.on('SIGINT', () => {})
// Before anything is measured: to listen to the parent is a resource too.
const ended = new Promise((resolve) => process.once('message', resolve))
process.on('disconnect', () => process.exit())

const listeners = () => ({
  signals: signals.map((name) => process.listenerCount(name)),
  others: process.eventNames().filter((name) => !['newListener', 'removeListener'].includes(String(name))).length,
})
const resources = () => process.getActiveResourcesInfo().sort()
const heap = async () => {
  for (let n = 0; n < 3; n += 1) {
    await new Promise((resolve) => setTimeout(resolve, 20))
    globalThis.gc?.()
  }
  return process.memoryUsage().heapUsed
}

/** @param {number} round */
async function round(round) {
  // Every second one with what a program may leave to the last moment.
  const options = round % 2 === 0 ? { handleSignals: true } : {}
  const bugle = createBugle({ connectionString, schema, name: schema, sweepMs: 0, logger: false, ...options })
  /** @type {() => void} */
  let tellRan = () => {}
  const ran = new Promise((resolve) => {
    tellRan = () => resolve(undefined)
  })
  const consumer = await bugle.consume('q', async (_job, ctx) => {
    tellRan()
    if (round % 4 === 0) await new Promise((resolve) => ctx.signal.addEventListener('abort', resolve))
  })
  await bugle.put('q', round)
  await ran
  if (round % 2 === 0) await consumer.stop({ graceMs: 0 })
  if (round % 3 === 0) {
    // Twice in one instance.
    const again = await bugle.consume('other', () => {}, { timeoutMs: 60_000 })
    await again.pause()
    await again.stop()
  }
  await bugle.close({ graceMs: 0 })
}

const warmUp = Math.max(4, Math.floor(rounds / 4))
// What the start of the process has left is gone by then.
await heap()
const before = { listeners: listeners(), resources: resources() }
for (let n = 0; n < warmUp; n += 1) await round(n)
const heapAfterWarmUp = await heap()
for (let n = warmUp; n < rounds; n += 1) await round(n)
const heapAtEnd = await heap()
const after = { listeners: listeners(), resources: resources() }
process.send?.({ did: 'rounds', before, after, heapAfterWarmUp, heapAtEnd })
await ended
process.disconnect()
