import { setTimeout as sleep } from 'node:timers/promises'
import { burstQueue, slowMs } from './plan.mjs'

/**
 * What others do to the rows and sessions of express lanes, all the time:
 *
 * - three edit jobs that are ready, two of them such as a lane has to keep. Those of a lane are locked: an edit waits
 *   for the lane's end, and comes before whatever is sent after a loss;
 * - one cancels what a lane's session is doing: its statement fails, and the session lives;
 * - one ends lane sessions: what was sent may have been done, or not;
 * - one vacuums, so that places in the table are used again.
 *
 * @param {object} parts
 * @param {readonly import('../ledger.mjs').Ledger[]} parts.sessions six
 * @param {import('../random.mjs').Random} parts.random
 */
export function startMeddlers({ sessions, random }) {
  const done = new Map(Object.entries({ edited: 0, cancelled: 0, terminated: 0 }))
  /**
   * Done to a lane's session, by the name of its process.
   *
   * @type {{ name: string, harm: import('../workers.mjs').Harm }[]}
   */
  const harms = []
  let isEnding = false

  /**
   * @param {number} index of the session
   * @param {number} mostMs from one time to the next
   * @param {(session: import('../ledger.mjs').Ledger) => Promise<void>} meddle
   */
  async function again(index, mostMs, meddle) {
    const session = sessions[index]
    while (session !== undefined && !isEnding) {
      // The server may be away, the row locked for too long.
      await meddle(session).catch(() => {})
      await sleep(random.between(1, mostMs))
    }
  }

  /** @type {(what: string, count: number) => void} */
  const count = (what, more) => void done.set(what, (done.get(what) ?? 0) + more)

  /** @param {'any' | 'slow'} which `slow`: those that a lane has to keep */
  const edit = (which) => async (/** @type {import('../ledger.mjs').Ledger} */ session) => {
    const rows = await session.askOnce(
      `update bugle.job
       set payload = jsonb_set(payload, '{version}', to_jsonb((payload ->> 'version')::int + 1))
       where state = 'ready'
         and id = (
           select id
           from (
             select id, payload from bugle.job
             where queue = $1 and state = 'ready'
             -- By an index: this must not take the processors from those that work.
             order by priority desc, id
             limit 500
           ) as next
           where (payload ->> 'ms')::int >= $2
           limit 1
           offset $3
         )
       returning id`,
      [burstQueue, which === 'any' ? 0 : slowMs.least, random.between(0, which === 'any' ? 60 : 2)],
    )
    count('edited', rows.length)
  }

  /**
   * @param {'pg_cancel_backend' | 'pg_terminate_backend'} how
   * @param {string} what
   */
  const end = (how, what) => async (/** @type {import('../ledger.mjs').Ledger} */ session) => {
    const from = Date.now()
    const rows = await session.askOnce(
      `select split_part(application_name, ' ', 1) as name, ${how}(pid)
       from pg_stat_activity
       where application_name ~ '^w.* lane$' and xact_start is not null and ($1 or state = 'active')
       order by random()
       limit 1`,
      [how === 'pg_terminate_backend'],
    )
    for (const { name } of rows) harms.push({ name, harm: { kind: what, from, to: Date.now() } })
    count(what, rows.length)
  }

  const over = Promise.all([
    again(0, 20, edit('any')),
    again(1, 20, edit('slow')),
    again(2, 20, edit('slow')),
    again(3, 15, end('pg_cancel_backend', 'cancelled')),
    again(4, 100, end('pg_terminate_backend', 'terminated')),
    again(5, 150, async (session) => void (await session.askOnce('vacuum (truncate off) bugle.job'))),
  ])
  return {
    done,
    harms,
    async end() {
      isEnding = true
      await over
      await Promise.all(sessions.map((session) => session.end()))
    },
  }
}
