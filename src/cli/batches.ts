import type { Progress } from '../terminal/screen.js'
import type { Cli } from './cli.js'

/** Work in batches: how far it is, and a Ctrl-C that ends it between two of them. */
export interface BatchWork {
  readonly signal: AbortSignal
  onProgress(total: number): void
  /** Take the bar away. */
  end(): void
}

/** @param done - in the past: 'requeued' */
export function batchWork({ out, interruptible }: Cli, done: string): BatchWork {
  const signal = interruptible()
  signal.addEventListener('abort', () => out.note('stopping after the batch in flight'), { once: true })
  let progress: Progress | null = null
  return {
    signal,
    onProgress(total) {
      // Not before: what fails at once is told in one line.
      progress ??= out.progress(done, null, 'jobs')
      progress.update(total)
    },
    end: () => progress?.end(),
  }
}
