import { setTimeout as sleep } from 'node:timers/promises'
import type { BoundedCount, BugleStats, QueueStats } from '../../admin/stats.js'
import { longestTimerMs } from '../../checks.js'
import { unlessAborted } from '../../deadline.js'
import { BugleError, toError } from '../../errors.js'
import { ageText, count, plural, shown } from '../../terminal/text.js'
import { type Cli, exitCodes } from '../cli.js'

interface StatsOptions {
  /** Seconds between two looks. */
  readonly watch?: number
  /** Count every job. */
  readonly exact?: boolean
}

/**
 * `bugle stats [QUEUE] [--exact] [--watch [SECONDS]]`.
 *
 * JSON: one line, that of `bugle.stats()` without `here`: `{ "at", "queues": [{ "queue", "isPaused", "ready",
 * "scheduled", "running", "failed", "oldestReadyMs", "workers", "slots" }], "areAllQueues", "workers": [as in
 * `workers`] }`, where a count is `{ "count", "isExact" }`.
 *
 * With `--watch` it goes on until Ctrl-C, which is its end and no failure: a table that is drawn again in a terminal, a
 * line of JSON each time anywhere else. A look that fails, after a first one that did not, is reported as `{ "at",
 * "error": { "code", "message" } }`, and the next one made all the same.
 */
export async function stats(
  cli: Cli,
  queue: string | undefined,
  { watch, exact = false }: StatsOptions,
): Promise<number> {
  const bugle = cli.bugle()
  const look = (): Promise<BugleStats> => bugle.stats(queue, { exact })
  if (watch !== undefined) return watchStats(cli, look, watch * 1_000)
  const found = await look()
  cli.out.json(statsJson(found))
  cli.out.say(statsText(cli, found))
  return exitCodes.ok
}

async function watchStats(cli: Cli, look: () => Promise<BugleStats>, everyMs: number): Promise<number> {
  const { out } = cli
  const signal = cli.interruptible()
  const isDrawn = out.isTerminal && !out.isJson
  // What is no terminal is a program, whether or not it has asked for JSON.
  const line = (value: unknown): void => (out.isJson ? out.json(value) : out.say(JSON.stringify(value)))
  for (let looks = 0; ; looks += 1) {
    const nextAt = performance.now() + everyMs
    try {
      const found = await unlessAborted(look(), signal)
      if (isDrawn) out.say(frame(statsText(cli, found), out.rows, everyMs))
      else line(statsJson(found))
    } catch (thrown) {
      if (signal.aborted) return exitCodes.ok
      const error = toError(thrown)
      if (looks === 0) throw error
      if (isDrawn) out.say(frame(out.paint('red', shown(error.message)), out.rows, everyMs))
      else
        line({
          at: new Date(),
          error: { code: error instanceof BugleError ? error.code : 'FAILED', message: error.message },
        })
    }
    await sleep(Math.min(Math.max(0, nextAt - performance.now()), longestTimerMs), undefined, { signal }).catch(
      () => {},
    )
    if (signal.aborted) return exitCodes.ok
  }
}

/**
 * From the top left corner, over what was there: lines and screen are cleared behind the new text, so that nothing
 * flickers.
 */
function frame(text: string, rows: number, everyMs: number): string {
  const head = `${new Date().toLocaleTimeString()}, every ${ageText(everyMs)}, until Ctrl-C`
  // A line that falls out at the foot would move the whole picture.
  const lines = [head, '', ...text.split('\n')].slice(0, Math.max(1, rows - 1))
  return `\x1b[H${lines.map((one) => `${one}\x1b[K`).join('\n')}\x1b[J`
}

function statsJson({ queues, areAllQueues, workers }: BugleStats) {
  // This process consumes nothing.
  return { at: new Date(), queues: queues.map(({ here: _, ...rest }) => rest), areAllQueues, workers }
}

function statsText({ out }: Cli, { queues, areAllQueues, workers }: BugleStats): string {
  if (queues.length === 0) return 'no queue has jobs, a consumer or a pause'
  const row = (one: QueueStats): string[] => [
    `${shown(one.queue)}${one.isPaused ? out.paint('yellow', ' paused') : ''}`,
    countText(one.ready),
    one.oldestReadyMs === null ? '' : ageText(one.oldestReadyMs),
    countText(one.scheduled),
    countText(one.running),
    one.failed.count > 0 ? out.paint('red', countText(one.failed)) : countText(one.failed),
    // Jobs that nobody takes. Without a consumer those that are due stay scheduled.
    one.workers === 0 && one.ready.count + one.scheduled.count > 0 ? out.paint('yellow', '0') : count(one.workers),
    count(one.slots),
  ]
  const head = ['queue', 'ready', 'oldest', 'scheduled', 'running', 'failed', 'workers', 'slots']
  const table = out.table(
    head,
    queues.map(row),
    head.map((_, column) => (column === 0 ? 'left' : 'right')),
  )
  const states = (['live', 'hung', 'dead'] as const)
    .map((state) => ({ state, number: workers.filter((worker) => worker.state === state).length }))
    .filter(({ number }) => number > 0)
    .map(({ state, number }) =>
      state === 'live' ? `${count(number)} live` : out.paint('red', `${count(number)} ${state}`),
    )
  return [
    table,
    ...(areAllQueues ? [] : ['there are more queues: these are the first by name']),
    '',
    workers.length === 0 ? 'no workers' : `${plural(workers.length, 'worker')}: ${states.join(', ')}`,
  ].join('\n')
}

export function countText({ count: number, isExact }: BoundedCount): string {
  return isExact ? count(number) : `${count(number)}+`
}
