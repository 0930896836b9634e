import { resolveStopTimes } from '../options.js'
import type { StopReport } from '../stop-report.js'
import type { Consumer } from './consumer.js'
import type { ConsumerOptions } from './options.js'
import { createTally } from './tally.js'

/**
 * A consumer that was stopped before it began: its instance was closed while it waited for the database, or for its
 * first connections. It has claimed nothing, and nothing of it is left.
 *
 * `consume` resolves with it: the signal that ends a process may come at any moment, and a program that does what it
 * was told has not failed.
 */
export function stoppedConsumer(queue: string, options: ConsumerOptions): Consumer {
  const report: StopReport = Object.freeze({
    completed: 0,
    failed: 0,
    interrupted: 0,
    released: 0,
    abandoned: Object.freeze([]),
  })
  const stopped = Promise.resolve(report)
  return {
    queue,
    isRunning: false,
    isPaused: false,
    activeJobs: 0,
    stats() {
      const at = performance.now()
      const tally = createTally(at)
      const { unknown: _, ...counts } = tally.counts
      return { concurrency: options.concurrency, active: 0, ...counts, ...tally.figures(at) }
    },
    stopped,
    stop: async (given) => {
      resolveStopTimes(given, options)
      return report
    },
    pause: async () => {},
    resume() {},
    idle: async () => {},
    async [Symbol.asyncDispose]() {},
  }
}
