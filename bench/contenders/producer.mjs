// A process that adds jobs by one of the contenders. Started by spawnChild with { contender, url, connections }, where
// the contender may also be `bare-insert`, which adds rows to a table that nobody consumes.
//
// Says `open` once it is connected. Asked, and answered under the same name, times by the machine's clock in ms:
// - load { from, to }: all of them, in large statements
// - burst { from, to }: all of them in one call; { from, at, doneAt }
// - one n: a single job; { at, doneAt }
// - flood { from, most, seconds, outstanding }: single jobs one after the other, `outstanding` at once, for so long;
//   how many
// - arrivals { from, perSecond, seconds }: single jobs at random moments, whatever becomes of them; { at }: of each
// - end
import { setTimeout as sleep } from 'node:timers/promises'
import { childArgs, nowMs, onMessage, say } from '../processes.mjs'
import { arrivalMs } from '../statistics.mjs'
import { openBareInsert } from './bare-insert.mjs'
import { contender } from './index.mjs'

const { contender: name, url, connections } = childArgs()
const producer =
  name === 'bare-insert' ? await openBareInsert(url) : await contender(name).openProducer(url, { connections })
const jobsPerLoad = 5_000

onMessage({
  async load({ from, to }) {
    for (let start = from; start < to; start += jobsPerLoad) {
      await producer.addMany(numbered(start, Math.min(start + jobsPerLoad, to)))
    }
    return true
  },
  async burst({ from, to }) {
    const payloads = numbered(from, to)
    const at = nowMs()
    await producer.addMany(payloads)
    return { at, doneAt: nowMs() }
  },
  async one(n) {
    const at = nowMs()
    await producer.addOne({ n })
    return { at, doneAt: nowMs() }
  },
  async flood({ from, most, seconds, outstanding }) {
    const until = nowMs() + seconds * 1_000
    let next = from
    const oneByOne = async () => {
      while (nowMs() < until && next < from + most) {
        next += 1
        await producer.addOne({ n: next - 1 })
      }
    }
    await Promise.all(Array.from({ length: outstanding }, oneByOne))
    return next - from
  },
  async arrivals({ from, perSecond, seconds }) {
    /** @type {number[]} */
    const at = []
    /** @type {Promise<unknown>[]} */
    const adding = []
    const startAt = nowMs()
    let dueAt = startAt
    while (dueAt < startAt + seconds * 1_000) {
      // Timers are in whole milliseconds: what is due within one goes out together. The clock of a job starts when it
      // goes out.
      await sleep(Math.max(0, dueAt - nowMs()))
      for (; dueAt <= nowMs(); dueAt += arrivalMs(perSecond, Math.random)) {
        at.push(nowMs())
        adding.push(producer.addOne({ n: from + at.length - 1 }))
      }
    }
    await Promise.all(adding)
    return { at }
  },
  async end() {
    await producer.end()
    process.exit(0)
  },
})
say('open')

/** @param {number} from @param {number} to */
function numbered(from, to) {
  return Array.from({ length: to - from }, (_, index) => ({ n: from + index }))
}
