// A process that consumes by one of the contenders. Started by spawnChild with { contender, url, slots, handlerMs,
// jobs, tellEvery }, where `jobs` is how many there will be at most, numbered from 0.
//
// Says `open` once it is connected. Asked: start round, stop, end; report: what has run since the last start;
// tellStarts: whether `started` is said of each job.
// Says `ran` with the number of ended handlers of this round, every few milliseconds and at once after each `tellEvery`
// of them.
import { setTimeout as sleep } from 'node:timers/promises'
import { childArgs, nowMs, onMessage, say } from '../processes.mjs'
import { contender } from './index.mjs'

const { contender: name, url, slots, handlerMs, jobs, tellEvery } = childArgs()
let tellsStarts = false
/** How often each job was started. */
let starts = new Uint8Array(jobs)
/** When each job was started last. */
let startedAt = new Float64Array(jobs)
/** Which start it was: what is told of an earlier one counts no more. */
let round = 0
let ran = 0
let told = 0
let cpuBefore = process.cpuUsage()
/** @type {Promise<void> | undefined} */
let starting

/** @param {{ n: number }} payload */
async function handler({ n }) {
  starts[n] = (starts[n] ?? 0) + 1
  const at = nowMs()
  startedAt[n] = at
  if (tellsStarts) say('started', { n, at })
  if (handlerMs > 0) await sleep(handlerMs)
  ran += 1
  if (ran % tellEvery === 0) tellRan()
}

function tellRan() {
  if (ran === told) return
  told = ran
  say('ran', { round, ran })
}

const consumer = await contender(name).openConsumer(url, { slots, handler })
setInterval(tellRan, 5)

onMessage({
  async start(thisRound) {
    round = thisRound
    starts = new Uint8Array(jobs)
    startedAt = new Float64Array(jobs)
    ran = 0
    told = 0
    cpuBefore = process.cpuUsage()
    starting = consumer.start()
    await starting
  },
  async stop() {
    // Others may have done all the work before this one had begun.
    await starting
    await consumer.stop()
    return true
  },
  tellStarts(does) {
    tellsStarts = does
    return true
  },
  report() {
    const { user, system } = process.cpuUsage(cpuBefore)
    return { starts, startedAt, ran, cpuMs: (user + system) / 1_000 }
  },
  async end() {
    await consumer.end()
    process.exit(0)
  },
})
say('open')
