import type { Progress } from '../terminal/screen.js'
import { type Cli, exitCodes } from './cli.js'

/** Work in batches: how far it is, and a Ctrl-C that ends it between two of them. */
interface BatchWork {
  readonly signal: AbortSignal
  onProgress(total: number): void
  /** Take the bar away. */
  end(): void
  /**
   * The end, and what was done: as JSON with `isComplete`.
   *
   * @returns the exit code
   * @throws Interrupted - where a signal ended it
   */
  finish(report: object, told: string): number
}

/** @param done - in the past: 'requeued' */
export function batchWork({ out, interruptible }: Cli, done: string): BatchWork {
  const signal = interruptible()
  signal.addEventListener('abort', () => out.note('stopping after the batch in flight'), { once: true })
  let progress: Progress | null = null
  const end = (): void => progress?.end()
  return {
    signal,
    onProgress(total) {
      // Not before: a failure at once is reported in one line.
      progress ??= out.progress(done, null, 'jobs')
      progress.update(total)
    },
    end,
    finish(report, told) {
      end()
      out.json({ ...report, isComplete: !signal.aborted })
      out.say(`${told}${signal.aborted ? '; then it was stopped' : ''}`)
      signal.throwIfAborted()
      return exitCodes.ok
    },
  }
}
