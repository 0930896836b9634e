import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { maxAttemptsOf, planJob, queue } from './plan.mjs'

/**
 * Puts jobs at a steady rate in every way there is, and requeues each refused one once. All of these writes must
 * succeed: the server is there, and has nothing against them.
 *
 * @param {object} parts
 * @param {import('../../../dist/index.js').Bugle} parts.bugle
 * @param {string} parts.connectionString
 * @param {number} parts.putsPerSecond
 * @param {import('../journal.mjs').Journal} parts.journal
 * @param {import('../random.mjs').Random} parts.random
 * @param {(text: string) => void} parts.violation
 */
export function startWriters({ bugle, connectionString, putsPerSecond, journal, random, violation }) {
  const pool = new pg.Pool({ connectionString, application_name: 'writer', max: 5 })
  pool.on('error', () => {})
  /** @type {Map<number, import('./plan.mjs').Plan>} those whose put was answered */
  const put = new Map()
  /** @type {Set<Promise<void>>} */
  const inFlight = new Set()
  let token = 0
  let refused = 0

  function planned() {
    token += 1
    return planJob(token, random)
  }

  /** @param {import('./plan.mjs').Plan} plan */
  function optionsOf({ mode, delayMs }) {
    const maxAttempts = maxAttemptsOf(mode)
    return { ...(delayMs > 0 && { delayMs }), ...(maxAttempts !== null && { maxAttempts }) }
  }

  /** @param {import('./plan.mjs').Plan} plan @param {Pick<pg.Pool, 'query'>} session */
  async function insert(plan, session) {
    const { rows } = await session.query(
      `insert into bugle.job (queue, payload, max_attempts, run_at)
       values ($1, $2, $3, clock_timestamp() + $4 * interval '1 ms')
       returning id::text as id`,
      [queue, JSON.stringify(plan), maxAttemptsOf(plan.mode), plan.delayMs],
    )
    return [rows[0].id]
  }

  /** @type {Readonly<Record<string, (plans: readonly import('./plan.mjs').Plan[]) => Promise<string[]>>>} */
  const ways = {
    put: async ([plan = planned()]) => [await bugle.put(queue, plan, optionsOf(plan))],
    putMany: (plans) => bugle.putMany(queue, plans, (_, index) => optionsOf(plans[index] ?? planned())),
    insert: ([plan = planned()]) => insert(plan, pool),
    /** Together with something of the application's own. */
    async transaction([plan = planned()]) {
      const client = await pool.connect()
      try {
        await client.query('begin')
        const ids = await insert(plan, client)
        const { command } = await client.query('commit')
        if (command !== 'COMMIT') throw new Error(`the commit was answered with ${command}`)
        return ids
      } finally {
        client.release()
      }
    },
  }

  async function one() {
    const way = random.weighted({ put: 60, putMany: 10, insert: 20, transaction: 10 })
    const plans = Array.from({ length: way === 'putMany' ? 3 : 1 }, planned)
    try {
      const ids = (await ways[way]?.(plans)) ?? []
      for (const [index, plan] of plans.entries()) {
        journal.write({ did: 'put', token: plan.token, id: ids[index], way, mode: plan.mode, delayMs: plan.delayMs })
        put.set(plan.token, plan)
      }
    } catch (error) {
      refused += 1
      const { code, message } = /** @type {Error & { code?: string }} */ (error)
      violation(`a ${way} was refused: ${code}: ${message}`)
    }
  }

  /** Those that are refused for the first time, once each. @param {AbortSignal} ended */
  async function requeue(ended) {
    /** @type {Set<string>} */
    const asked = new Set()
    while (!ended.aborted) {
      await sleep(500, undefined, { signal: ended }).catch(() => {})
      const { rows } = await pool.query(
        `select id::text as id, (payload ->> 'token')::int as token
         from bugle.job
         where state = 'failed' and payload ->> 'mode' = 'reject'`,
      )
      for (const { id, token: about } of rows) {
        if (asked.has(id)) continue
        asked.add(id)
        journal.write({ did: 'requeue', token: about, id })
        await bugle.requeue(id).then(
          (requeued) => {
            if (requeued !== 1) violation(`requeue of the failed job ${id} has answered ${requeued}`)
          },
          (error) => violation(`a requeue was refused: ${error.code}: ${error.message}`),
        )
      }
    }
  }

  return {
    put,
    get refused() {
      return refused
    },
    /** Resolves after the signal, when all is answered. @param {AbortSignal} ended */
    async run(ended) {
      const requeues = requeue(ended)
      while (!ended.aborted) {
        const writing = one()
        inFlight.add(writing)
        void writing.finally(() => inFlight.delete(writing))
        await sleep(1_000 / putsPerSecond)
      }
      await Promise.all([requeues, ...inFlight])
    },
    /** Each with what it is in the database. */
    async ends() {
      const { rows } = await pool.query(
        `select id::text as id, (payload ->> 'token')::int as token, state, last_error ->> 'message' as error
         from bugle.job
         union all
         select id::text, (payload ->> 'token')::int, 'archived', null from bugle.archive`,
      )
      return /** @type {{ id: string, token: number, state: string, error: string | null }[]} */ (rows)
    },
    /** What has not ended yet. */
    async left() {
      const { rows } = await pool.query(
        `select state, count(*)::int as count, min(id)::text as first
         from bugle.job
         where state <> 'failed'
         group by state`,
      )
      return rows
    },
    end: () => pool.end(),
  }
}
