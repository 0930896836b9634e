import type { Dozers } from '../database/control.js'
import type { Query } from '../database/database.js'
import type { Heartbeat, Word } from './presence.js'

interface HeartbeatRow {
  readonly present: boolean
  readonly server: string
  readonly running: string
  readonly others: string
  readonly paused: string
  readonly channel: string | null
  readonly dozers: string
}

interface OtherRow {
  readonly id: string
  readonly seen_at: string
  readonly rescue_after_ms: number
  readonly hung_after_ms: number
}

interface DozersOn extends Dozers {
  readonly queue: string
}

/** What a worker consumes, as its row says it: operators and `stats` read it there. */
export interface ServedQueue {
  readonly queue: string
  /** Its slots. */
  readonly concurrency: number
  /** null: any kind, and none. */
  readonly kinds: readonly string[] | null
  /** In that process (`consumer.pause()`). */
  readonly isPaused: boolean
}

/**
 * One heartbeat, by whichever way `query` takes.
 *
 * What is consumed goes with each one in whole, so that no answer that was lost, and no new id, can leave a row that
 * says something else. It cannot make a heartbeat fail: names and kinds were checked to be storable before anything was
 * consumed (`queueName`, `label`), and the list is data of no consequence for the presence.
 *
 * @param queues - of which it is asked whether they are paused
 * @param serves - what the worker consumes
 * @param dozesOn - the queues on which it dozes
 * @throws what `query` throws
 * @see sql/statements/heartbeat.sql
 */
export async function sendHeartbeat(
  query: Query,
  id: string,
  { rescueAfterMs, hungAfterMs }: Word,
  queues: readonly string[],
  serves: readonly ServedQueue[],
  dozesOn: readonly string[],
): Promise<Heartbeat> {
  const [row] = await query<HeartbeatRow>('heartbeat', [
    id,
    rescueAfterMs,
    hungAfterMs,
    JSON.stringify(queues),
    JSON.stringify(serves),
    JSON.stringify(dozesOn),
  ])
  if (row === undefined) throw new Error('a heartbeat had no answer')
  const others: readonly OtherRow[] = JSON.parse(row.others)
  return {
    isPresent: row.present,
    server: row.server,
    running: JSON.parse(row.running),
    others: others.map((other) => ({
      id: other.id,
      seenAt: other.seen_at,
      rescueAfterMs: other.rescue_after_ms,
      hungAfterMs: other.hung_after_ms,
    })),
    paused: JSON.parse(row.paused),
    channel: row.channel,
    dozers: new Map(JSON.parse(row.dozers).map((one: DozersOn) => [one.queue, one])),
  }
}
