import type { Database } from '../database/database.js'

/**
 * The server's queue of notifications, as the pings of this process see it. All databases of the server share it, and
 * it holds what some listener, of whatever application, has not read.
 *
 * **While it is half full** no trigger of ours notifies (sql/migrations/0001_jobs.sql), and no ping is sent. So the
 * listener is not `live`, and sweeps come every second.
 *
 * **Between two pings**, in some ten seconds, it may be half full and have room again, and nobody sees it. Nobody was
 * notified of what was put meanwhile. So from a tenth on sweeps come every second as well, and once after that: such a
 * job starts a second or so after its commit. What is left is a queue that goes from a tenth to a half and back between
 * two pings. Of a queue of 8 GB that is 320 MB of notifications a second, which no server can send; where it was made
 * small (`max_notify_queue_pages`), the next sweep finds the job, as it does with triggers disabled.
 */
export interface NotifyQueue {
  /** It may be half full before the next ping. */
  readonly isFilling: boolean
  /**
   * Send a mark to ourselves.
   *
   * @returns the channel of the tables that are there now; null: there are none
   * @throws as `Database.query`; an Error where nobody is notified
   * @see sql/statements/ping.sql
   */
  ping(channel: string, mark: string): Promise<string | null>
}

interface NotifyQueueParts {
  readonly database: Pick<Database, 'query'>
  /** With each ping: `isFilling` may have changed. */
  readonly onSeen: () => void
  /** A ping was not sent, since nobody is notified. That says nothing of the way to the server. */
  readonly onMuted: () => void
}

interface PingRow {
  readonly channel: string | null
  readonly sent: boolean
  /** 0 to 1. */
  readonly usage: number
}

const fillingFrom = 0.1

export function createNotifyQueue({ database, onSeen, onMuted }: NotifyQueueParts): NotifyQueue {
  let usage = 0
  return {
    get isFilling() {
      return usage >= fillingFrom
    },
    async ping(channel, mark) {
      const [answer] = await database.query<PingRow>('ping', [channel, mark])
      if (answer === undefined) throw new Error('a ping had no answer')
      usage = answer.usage
      onSeen()
      if (answer.sent) return answer.channel
      onMuted()
      // The triggers go by the same rule: a listener that is `live` would wait for notifications that nobody sends.
      throw new Error('the queue of notifications is half full: nobody is notified')
    },
  }
}
