// A process that adds single jobs by one of the contenders at a steady rate, whatever becomes of them. Started by
// spawnChild with { contender, url, connections, from, perSecond }, where `from` is the number of the first job.
//
// Says `open` once it is connected; `put` { n, at, doneAt } of each job, or { n, at, error } of one that was refused.
// Asked: pace: begin; stop: no more, answered when all are answered.
import { setTimeout as sleep } from 'node:timers/promises'
import { contender } from '../contenders/index.mjs'
import { childArgs, nowMs, onMessage, say } from '../processes.mjs'

const { contender: name, url, connections, from, perSecond } = childArgs()
// Each outage would be told a hundred times. What ends the process is written past this.
process.stderr.write = () => true
const producer = await contender(name).openProducer(url, { connections })
/** @type {Set<Promise<void>>} */
const inFlight = new Set()
let isStopped = false

/** @param {number} n */
async function addOne(n) {
  const at = nowMs()
  say('sent', n)
  try {
    await producer.addOne({ n })
    say('put', { n, at, doneAt: nowMs() })
  } catch (error) {
    say('put', { n, at, error: error instanceof Error ? error.message : String(error) })
  }
}

async function pace() {
  const startedAt = nowMs()
  for (let sent = 0; !isStopped; ) {
    const dueAt = startedAt + (sent * 1_000) / perSecond
    if (nowMs() < dueAt) {
      await sleep(dueAt - nowMs())
      continue
    }
    const adding = addOne(from + sent)
    sent += 1
    inFlight.add(adding)
    void adding.finally(() => inFlight.delete(adding))
  }
}

onMessage({
  pace: () => void pace(),
  async stop() {
    isStopped = true
    await Promise.all(inFlight)
    return true
  },
})
say('open')
