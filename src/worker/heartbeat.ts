import type { Query } from '../database/database.js'
import type { Heartbeat, Word } from './presence.js'

interface HeartbeatRow {
  readonly present: boolean
  readonly server: string
  readonly running: string
  readonly others: string
  readonly paused: string
}

interface OtherRow {
  readonly id: string
  readonly seen_at: string
  readonly rescue_after_ms: number
  readonly hung_after_ms: number
}

/**
 * One heartbeat, by whichever way `query` takes.
 *
 * @param queues - of which it is asked whether they are paused
 * @throws what `query` throws
 * @see sql/statements/heartbeat.sql
 */
export async function sendHeartbeat(
  query: Query,
  id: string,
  { rescueAfterMs, hungAfterMs }: Word,
  queues: readonly string[],
): Promise<Heartbeat> {
  const [row] = await query<HeartbeatRow>('heartbeat', [id, rescueAfterMs, hungAfterMs, JSON.stringify(queues)])
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
  }
}
