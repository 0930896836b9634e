// A process that consumes by one of the contenders while things are broken around it. Started by spawnChild with
// { contender, url, slots, handlerMs }; what a contender says of its outages is left unsaid.
//
// Says `open` once it consumes, `start` { n, at } of each run and `done` { n, at } when its handler has ended.
import { setTimeout as sleep } from 'node:timers/promises'
import { contender } from '../contenders/index.mjs'
import { childArgs, nowMs, onMessage, say } from '../processes.mjs'

const { contender: name, url, slots, handlerMs } = childArgs()
// Each outage would be told a hundred times. What ends the process is written past this.
process.stderr.write = () => true

/** @param {{ n: number }} payload */
async function handler({ n }) {
  say('start', { n, at: nowMs() })
  await sleep(handlerMs)
  say('done', { n, at: nowMs() })
}

// Without its parent it ends.
onMessage({})
const consumer = await contender(name).openConsumer(url, { slots, handler })
await consumer.start()
say('open')
