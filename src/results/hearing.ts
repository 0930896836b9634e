import { randomBytes } from 'node:crypto'
import createDebug from 'debug'
import { idArray, isJobId } from '../checks.js'
import { demandApart } from '../database/apart.js'
import type { Database } from '../database/database.js'
import type { Session } from '../database/session.js'
import { deadline } from '../deadline.js'
import { toError } from '../errors.js'
import { createListener } from '../listen/listener.js'

const log = createDebug('bugle:results')

/**
 * Hears that jobs have ended whose results are waited for.
 *
 * Whoever ends a job notifies only if somebody waits (sql/statements/result_locks.sql): this holds the locks that say
 * so, for as long as notifications are proven to arrive. Listener and locks go together: the listener's way begins with
 * a session, which stays open and has the locks, and ends where that does. So there are two connections, from the first
 * result that is waited for until some seconds after the last.
 *
 * The listener is that of consumers, with a channel of its own: echoes prove that it hears (listen/listener.ts). The
 * session is asked something with each ping, so a half-open one is lost as well. With it the locks are void: `onHeard`
 * comes when both are back, and whoever waits has to be covered anew.
 */
export interface Hearing {
  /**
   * Take the locks for those jobs, where they are not held.
   *
   * @returns 'already': they were held before; 'anew': some are held from now on; 'not': nothing is heard at the moment
   */
  cover(ids: readonly string[]): Promise<Cover>
  stop(): void
}

export type Cover = 'already' | 'anew' | 'not'

interface HearingParts {
  readonly database: Database
  /** Somebody says that this job has ended: a hint. */
  readonly onEnded: (jobId: string) => void
  /** Something is heard (again), and no job is covered yet; or nothing is heard any more. */
  readonly onChange: () => void
  /** A whole sentence for an operator. */
  readonly onDeaf: (reason: string) => void
}

const answerMs = 3_000

export function createHearing({ database, onEnded, onChange, onDeaf }: HearingParts): Hearing {
  const { statements } = database
  /** The session that has the locks, and which it has. */
  let held: {
    readonly session: Session
    readonly buckets: Set<number>
    readonly leave: (error: Error) => void
  } | null = null
  // pg wants one query at a time.
  let turn: Promise<unknown> = Promise.resolve()
  const pingChannel = `bugle_ping_result_${randomBytes(8).toString('hex')}`

  const open = (): Promise<Session> => database.openSession('results')

  /** One statement on the session; one that fails is its end, and that of its locks. */
  function ask(by: NonNullable<typeof held>, text: string, values: unknown[]): Promise<boolean> {
    const asked = turn.then(async () => {
      if (held !== by) return false
      try {
        await deadline(by.session.client.query(text, values), answerMs, 'results')
      } catch (error) {
        log('%s', toError(error).message)
        by.leave(toError(error))
      }
      return held === by
    })
    turn = asked
    return asked
  }

  const listener = createListener({
    async connect(leave) {
      const session = await open()
      try {
        // As of consumers' listeners: a pooler may hand the session to others, and the locks with it.
        if (!session.hasSettings) await demandApart(session, open, statements.own_process)
        const left = session.admitAnother(leave)
        const own = { session, buckets: new Set<number>(), leave }
        held = own
        session.client.once('end', () => leave(new Error('the connection ended')))
        session.client.once('error', leave)
        return {
          config: session.config,
          left() {
            left()
            if (held === own) held = null
            void session.end()
          },
        }
      } catch (error) {
        await session.end()
        throw error
      }
    },
    onUp: database.onUp,
    async channel() {
      const [row] = await database.query<{ channel: string }>('channel', [])
      if (row === undefined) throw new Error('the channels have no names')
      return { channel: resultChannel(row.channel), cancelChannel: null }
    },
    pingChannel: () => pingChannel,
    async sendPing(channel, mark) {
      if (held !== null) void ask(held, statements.own_process, [])
      const [answer] = await database.query<{ channel: string | null; sent: boolean }>('ping', [channel, mark])
      if (answer?.sent !== true) throw new Error('the queue of notifications is half full: nobody is notified')
      return answer.channel === null ? null : resultChannel(answer.channel)
    },
    onNotification: (payload) => {
      if (isJobId(payload)) onEnded(payload)
    },
    onCancel() {},
    onLive: onChange,
    onDeaf,
    onHealth(from, to) {
      if (from === 'live' && to === 'polling') onChange()
    },
    random: Math.random,
  })
  void listener.start()

  return {
    async cover(ids) {
      const by = held
      if (by === null || listener.health !== 'live') return 'not'
      const fresh = ids.filter((id) => !by.buckets.has(bucketOf(id)))
      if (fresh.length === 0) return 'already'
      if (!(await ask(by, statements.result_locks, [idArray(fresh)]))) return 'not'
      for (const id of fresh) by.buckets.add(bucketOf(id))
      return listener.health === 'live' ? 'anew' : 'not'
    },
    stop: listener.stop,
  }
}

/** As the trigger's function wake_again() and settle_other name it. */
function resultChannel(channel: string): string {
  return `${channel}_result`
}

function bucketOf(id: string): number {
  return Number(BigInt(id) & 63n)
}
