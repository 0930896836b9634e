import { setTimeout as sleep } from 'node:timers/promises'
import { startChild } from '../child.mjs'
import { within } from '../within.mjs'

/** Of a worker's start while the queue is full: its listener is never live then, and that takes time to find out. */
const startMs = 30_000
/** Beyond graceMs + abortMs. */
const stopMarginMs = 5_000

/**
 * Worker processes, of which by turns one is killed and one is asked to stop, in the middle of what it does; another
 * takes its place.
 *
 * @param {object} parts
 * @param {number} parts.workers
 * @param {object} parts.args of every worker
 * @param {import('../journal.mjs').Journal} parts.journal each kill is written down before it happens
 * @param {import('../random.mjs').Random} parts.random
 * @param {(text: string) => void} parts.log
 * @param {(text: string) => void} parts.violation
 */
export function startCrew({ workers, args, journal, random, log, violation }) {
  let number = 0
  const crew = Array.from({ length: workers }, () => startOne())
  /** @type {ReadonlySet<unknown>} */
  const firstBorn = new Set(crew.map(({ child }) => child))

  function startOne() {
    number += 1
    const child = startChild(new URL('./worker.mjs', import.meta.url), args, { name: `w${number}`, log, violation })
    return { child, consumes: within(startMs, child.next('consumes'), `the start of ${child.name}`) }
  }

  /** @param {import('../child.mjs').Child} child */
  async function kill(child) {
    journal.write({ did: 'kill', worker: child.name })
    log(`${child.name} is killed`)
    await child.kill()
  }

  /** @param {import('../child.mjs').Child} child @param {{ graceMs: number, abortMs: number }} times */
  async function stop(child, times) {
    log(`${child.name} is asked to stop: ${JSON.stringify(times)}`)
    child.mayEnd()
    child.send(times)
    const mostMs = times.graceMs + times.abortMs + stopMarginMs
    try {
      await within(mostMs, child.exited, `the stop of ${child.name}`)
    } catch (error) {
      violation(error instanceof Error ? error.message : String(error))
      await kill(child)
    }
  }

  /**
   * Those that began before the queue was full are killed first. The others hold no presence lock, as their listener
   * was never live: after a kill their jobs come back a minute later.
   *
   * @param {boolean} kills
   */
  function pick(kills) {
    const all = crew.map((_, index) => index)
    const wanted = all.filter((index) => firstBorn.has(crew[index]?.child) === kills)
    return random.pick(wanted.length > 0 ? wanted : all)
  }

  return {
    /** Resolves when all consume. */
    started: () => Promise.all(crew.map(({ consumes }) => consumes)),
    /** One after the other, until it is told to end. @param {AbortSignal} ended */
    async harm(ended) {
      for (let harms = 0; !ended.aborted; harms += 1) {
        await sleep(random.between(2_000, 5_000), undefined, { signal: ended }).catch(() => {})
        if (ended.aborted) return
        const kills = harms % 2 === 0
        const index = pick(kills)
        const { child, consumes } = crew[index] ?? startOne()
        await consumes
        if (kills) await kill(child)
        else await stop(child, { graceMs: random.between(0, 500), abortMs: 500 })
        crew[index] = startOne()
      }
    },
    /** @param {{ graceMs: number, abortMs: number }} times */
    stopAll: (times) => Promise.all(crew.map(({ child }) => stop(child, times))),
    killAll() {
      for (const { child, consumes } of crew) {
        consumes.catch(() => {})
        void child.kill()
      }
    },
  }
}
