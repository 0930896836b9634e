import createDebug from 'debug'
import type { StopOptions } from './options.js'

const log = createDebug('bugle:signals')

const stopSignals = ['SIGINT', 'SIGTERM'] as const

/** What each instance does at a signal. The process has one listener for all of them, as long as there is one. */
const called = new Set<(signal: NodeJS.Signals) => void>()

function onStopSignal(signal: NodeJS.Signals): void {
  for (const call of [...called]) call(signal)
}

/**
 * SIGINT and SIGTERM close the instance: the first with its usual times, the second without the grace, the third at
 * once.
 *
 * Nothing else is done: other listeners of the program are called as ever, and nobody exits the process. It ends when
 * nothing is left to do; and once the instance is closed a signal does again what it did before.
 *
 * @param close - may be called again, to make it shorter; never rejects for times like these
 * @returns what ends that for this instance
 */
export function listenToSignals(close: (times: StopOptions) => Promise<void>): () => void {
  const timesOf: readonly StopOptions[] = [{}, { graceMs: 0 }, { graceMs: 0, abortMs: 0 }]
  let received = 0

  function onSignal(signal: NodeJS.Signals): void {
    const times = timesOf[Math.min(received, timesOf.length - 1)] ?? {}
    received += 1
    log('%s, the %dth: closing with %o', signal, received, times)
    void close(times)
  }

  if (called.size === 0) for (const signal of stopSignals) process.on(signal, onStopSignal)
  called.add(onSignal)
  return () => {
    called.delete(onSignal)
    if (called.size === 0) for (const signal of stopSignals) process.off(signal, onStopSignal)
  }
}
