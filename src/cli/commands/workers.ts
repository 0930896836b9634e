import type { WorkerStats } from '../../admin/stats.js'
import { ageText, shown } from '../../terminal/text.js'
import { type Cli, exitCodes } from '../cli.js'
import { countText } from './stats.js'

/**
 * `bugle workers`.
 *
 * JSON: one line per worker, the oldest first: `{ "id", "name", "host", "pid", "version", "startedAt", "seenMsAgo",
 * "state": "live" | "hung" | "dead", "running": { "count", "isExact" }, "consumers": [{ "queue", "concurrency",
 * "kinds": [...] | null, "isPaused" }] }`.
 */
export async function workers(cli: Cli): Promise<number> {
  const { out } = cli
  const { workers: found } = await cli.bugle().stats()
  for (const worker of found) out.json(worker)
  if (found.length === 0) out.say('no workers')
  else {
    const head = ['id', 'name', 'host', 'pid', 'version', 'state', 'seen', 'up', 'running', 'consumes']
    const rows = found.map((worker) => [
      worker.id,
      shown(worker.name),
      shown(worker.host),
      String(worker.pid),
      shown(worker.version),
      out.paint(worker.state === 'live' ? 'green' : 'red', worker.state),
      `${ageText(worker.seenMsAgo)} ago`,
      ageText(Date.now() - worker.startedAt.getTime()),
      countText(worker.running),
      worker.consumers.map(consumerText).join(', '),
    ])
    out.say(out.table(head, rows))
  }
  return exitCodes.ok
}

/** `emails ×10`, `media ×4 (thumb, probe)`, `calls ×2 paused` */
function consumerText({ queue, concurrency, kinds, isPaused }: WorkerStats['consumers'][number]): string {
  const shownKinds = kinds === null ? '' : ` (${kinds.map(shown).join(', ')})`
  return `${shown(queue)} ×${concurrency}${shownKinds}${isPaused ? ' paused' : ''}`
}
