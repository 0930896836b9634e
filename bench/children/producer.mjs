// A process that puts single jobs at a steady rate. Started by spawnChild().
//
// Args: { url, schema, queue, poolSize }
// Asked: 'pace' { perSecond, seconds }, answered at the end with how many were put and how late the latest one was;
// 'count': how many were sent; 'putsMs'; 'stop': the process ends.
import { setTimeout as sleep } from 'node:timers/promises'
import { createBugle } from '../../dist/index.js'
import { childArgs, nowMs, onMessage } from '../processes.mjs'

const { url, schema = 'bugle', queue, poolSize } = childArgs()
const bugle = createBugle({ connectionString: url, schema, name: 'bench producer', poolSize })
/** What each put took. @type {number[]} */
const putsMs = []
/** Also those that are on their way. */
let sentInAll = 0

/**
 * Open loop: a put that takes long does not hold back the next one.
 *
 * @param {{ perSecond: number, seconds: number }} order
 */
async function pace({ perSecond, seconds }) {
  const from = nowMs()
  const wanted = Math.round(perSecond * seconds)
  /** @type {Set<Promise<void>>} */
  const inFlight = new Set()
  let behindMs = 0
  for (let sent = 0; sent < wanted; ) {
    const dueMs = from + (sent * 1_000) / perSecond
    const now = nowMs()
    if (now < dueMs) {
      await sleep(dueMs - now)
      continue
    }
    behindMs = Math.max(behindMs, now - dueMs)
    sent += 1
    const put = putOne(sent).finally(() => inFlight.delete(put))
    inFlight.add(put)
  }
  await Promise.all(inFlight)
  return { put: wanted, behindMs }
}

/** @param {number} number */
async function putOne(number) {
  const putAt = nowMs()
  sentInAll += 1
  await bugle.put(queue, { number, putAt })
  putsMs.push(nowMs() - putAt)
}

onMessage({
  async pace(order) {
    return await pace(order)
  },
  count: () => sentInAll,
  putsMs: () => Float64Array.from(putsMs),
  async stop() {
    await bugle.close()
    process.exit()
  },
})
