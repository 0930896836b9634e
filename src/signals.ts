import createDebug from 'debug'
import type { StopTimes } from './options.js'

const log = createDebug('bugle:signals')

const stopSignals = ['SIGINT', 'SIGTERM'] as const

/**
 * SIGINT and SIGTERM close the instance: the first with its usual times, the second without the grace, the third at
 * once.
 *
 * Nothing else is done: other listeners of the program are called as ever, and nobody exits the process. It ends when
 * nothing is left to do; and once the instance is closed a signal does again what it did before.
 *
 * @param close - may be called again, to make it shorter; never rejects for times like these
 * @returns what takes the listeners away again
 */
export function listenToSignals(close: (times: Partial<StopTimes>) => Promise<void>): () => void {
  const timesOf: readonly Partial<StopTimes>[] = [{}, { graceMs: 0 }, { graceMs: 0, abortMs: 0 }]
  let received = 0

  function onSignal(signal: NodeJS.Signals): void {
    const times = timesOf[Math.min(received, timesOf.length - 1)] ?? {}
    received += 1
    log('%s, the %dth: closing with %o', signal, received, times)
    void close(times)
  }

  for (const signal of stopSignals) process.on(signal, onSignal)
  return () => {
    for (const signal of stopSignals) process.off(signal, onSignal)
  }
}
