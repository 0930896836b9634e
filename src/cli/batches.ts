import { plural } from '../terminal/text.js'
import type { Cli } from './cli.js'

/** Work in batches: how far it is, and a Ctrl-C that ends it between two of them. */
export interface BatchWork {
  readonly signal: AbortSignal
  onProgress(total: number): void
  /** Take the bar away. */
  end(): void
}

/**
 * @param done - in the past: 'requeued'
 * @param batch - what is still waited for when it is interrupted
 */
export function batchWork({ out, interruptible }: Cli, done: string, unit: string): BatchWork {
  const signal = interruptible()
  const progress = out.progress(done, null, `${unit}s`)
  signal.addEventListener('abort', () => out.note('stopping after the batch in flight'), { once: true })
  return { signal, onProgress: progress.update, end: progress.end }
}

/** `1 job requeued`, and whether that was not all. */
export function doneText(number: number, unit: string, done: string, { aborted }: AbortSignal): string {
  return `${plural(number, unit)} ${done}${aborted ? ', then it was stopped' : ''}`
}
