import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { burstQueue, planBurst } from './plan.mjs'

/** Jobs of a burst: each of four workers has to claim some hundred before it opens a lane. */
const size = { least: 1_500, most: 3_500 }
/** While more are left of former ones, none is put: they are to be worked off within a minute after the last fault. */
const mostLeft = 8_000
const pauseMs = { least: 500, most: 1_500 }

/** @typedef {{ first: number, count: number, fate: 'committed' | 'refused' | 'unknown' }} PutBurst */

/**
 * Puts bursts, whatever happens to the database.
 *
 * @param {object} parts
 * @param {string} parts.connectionString
 * @param {import('../random.mjs').Random} parts.random
 * @param {(text: string) => void} parts.violation
 */
export function startBursts({ connectionString, random, violation }) {
  /** @type {PutBurst[]} */
  const puts = []
  const ending = new AbortController()
  let next = -1

  async function putOne() {
    const count = random.between(size.least, size.most)
    const jobs = planBurst(next, count, random)
    /** @type {PutBurst} */
    const put = { first: next, count, fate: 'unknown' }
    next -= count
    puts.push(put)
    const client = new pg.Client({ connectionString, connectionTimeoutMillis: 5_000, query_timeout: 10_000 })
    client.on('error', () => {})
    try {
      await client.connect()
      const { rowCount } = await client.query(
        `insert into bugle.job (queue, payload)
         select $1::text, job
         from jsonb_array_elements($2::jsonb) with ordinality as given (job, place)
         where (select count(*) from (select from bugle.job where queue = $1::text limit $3) as left_over) < $3::int
         order by place`,
        [burstQueue, JSON.stringify(jobs), mostLeft],
      )
      put.fate = rowCount === 0 ? 'refused' : 'committed'
    } catch (error) {
      // The server is away, or was lost with the answer; it has not refused the statement.
      const { code = '', message } = /** @type {Error & { code?: string }} */ (error)
      if (code.startsWith('42')) violation(`a burst was refused: ${message}`)
    } finally {
      // One that is half-dead never says goodbye.
      void client.end().catch(() => {})
    }
  }

  async function go() {
    while (!ending.signal.aborted) {
      await putOne()
      await sleep(random.between(pauseMs.least, pauseMs.most), undefined, { signal: ending.signal }).catch(() => {})
    }
  }

  const over = go()
  return {
    puts,
    /** Resolves when the last one was answered. */
    async end() {
      ending.abort()
      await over
    },
  }
}
