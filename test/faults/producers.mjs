import pg from 'pg'
import { exhaustAttempts, planJob, queues } from './plan.mjs'

/**
 * What the producer knows of a job that it has put, or tried to.
 *
 * - `committed`: it must run, and end as its plan says
 * - `rolled-back`, `refused`: it must not exist
 * - `unknown`: the answer was lost; it may exist, and then everything holds for it too
 *
 * @typedef {'committed' | 'rolled-back' | 'refused' | 'unknown'} Fate
 * @typedef {'put' | 'raw' | 'function' | 'transaction'} Way
 * @typedef {{ plan: import('./plan.mjs').Plan, way: Way, fate: Fate | null, id: string | null }} Put
 */

/** Worth a line in the log. */
const slowMs = 5_000

/**
 * Puts jobs at a steady rate, whatever happens to the database.
 *
 * @param {object} parts
 * @param {import('../../dist/index.js').Bugle} parts.bugle
 * @param {string} parts.connectionString for raw SQL and transactions
 * @param {number} parts.putsPerSecond
 * @param {import('./random.mjs').Random} parts.random
 * @param {(text: string) => void} parts.log
 * @param {(text: string) => void} parts.violation
 */
export function startProducers({ bugle, connectionString, putsPerSecond, random, log, violation }) {
  const pool = new pg.Pool({
    connectionString,
    application_name: 'producer',
    max: 20,
    connectionTimeoutMillis: 5_000,
    query_timeout: 10_000,
  })
  // A session that breaks between two queries of a transaction.
  pool.on('connect', (client) => client.on('error', () => {}))
  pool.on('error', () => {})
  /** @type {Put[]} */
  const puts = []
  /** @type {Set<Promise<void>>} */
  const inFlight = new Set()

  /** @param {Way} way */
  function planned(way) {
    /** @type {Put} */
    const put = { plan: planJob(puts.length + 1, random), way, fate: null, id: null }
    puts.push(put)
    return put
  }

  /** @param {Put} put */
  function optionsOf({ plan }) {
    return {
      ...(plan.mode === 'exhaust' && { maxAttempts: exhaustAttempts }),
      ...(random.next() < 0.1 && { delayMs: random.between(1, 2_000) }),
      ...(random.next() < 0.1 && { priority: random.between(-5, 5) }),
    }
  }

  /**
   * @param {Put} put
   * @param {pg.PoolClient} [tx]
   */
  const byPut = (put, tx) => bugle.put(random.pick(queues), put.plan, { ...optionsOf(put), ...(tx && { tx }) })

  /**
   * @param {Put} put
   * @param {Pick<pg.Pool, 'query'>} session
   */
  async function byInsert({ plan }, session) {
    const { rows } = await session.query(
      'insert into bugle.job (queue, payload, max_attempts) values ($1, $2, $3) returning id::text as id',
      [random.pick(queues), JSON.stringify(plan), plan.mode === 'exhaust' ? exhaustAttempts : null],
    )
    return rows[0].id
  }

  /** @param {Put} put */
  async function byFunction({ plan }) {
    const { rows } = await pool.query('select bugle.put($1, $2)::text as id', [
      random.pick(queues),
      JSON.stringify(plan),
    ])
    return rows[0].id
  }

  async function onePut() {
    const put = planned('put')
    try {
      put.id = await byPut(put)
      put.fate = 'committed'
    } catch (error) {
      const { code, message } = /** @type {Error & { code?: string }} */ (error)
      put.fate = code === 'DATABASE_DOWN' ? 'refused' : 'unknown'
      if (code !== 'DATABASE_DOWN' && code !== 'RESULT_UNKNOWN') violation(`put threw ${code}: ${message}`)
    }
  }

  /** @param {'raw' | 'function'} way */
  async function oneStatement(way) {
    const put = planned(way)
    // bugle.put() has no limit of attempts.
    if (way === 'function' && put.plan.mode === 'exhaust') put.plan = { ...put.plan, mode: 'reject' }
    try {
      put.id = way === 'raw' ? await byInsert(put, pool) : await byFunction(put)
      put.fate = 'committed'
    } catch {
      put.fate = 'unknown'
    }
  }

  /** One to three jobs; a tenth of them is rolled back. */
  async function oneTransaction() {
    const jobs = Array.from({ length: random.between(1, 3) }, () => planned('transaction'))
    const rollsBack = random.next() < 0.1
    const commitsAfterMs = random.next() < 0.3 ? random.between(1, 200) : 0
    /** @type {Fate} */
    let fate = 'rolled-back'
    /** @type {pg.PoolClient | null} */
    let client = null
    try {
      client = await pool.connect()
      await client.query('begin')
      for (const put of jobs) put.id = random.next() < 0.5 ? await byPut(put, client) : await byInsert(put, client)
      if (commitsAfterMs > 0) await new Promise((resolve) => setTimeout(resolve, commitsAfterMs))
      if (rollsBack) {
        await client.query('rollback')
      } else {
        fate = 'unknown'
        const { command } = await client.query('commit')
        // A transaction that has failed answers its commit with ROLLBACK.
        fate = command === 'COMMIT' ? 'committed' : 'rolled-back'
      }
      client.release()
    } catch {
      client?.release(true)
    }
    for (const put of jobs) put.fate = fate
  }

  const ways = { put: 50, raw: 15, function: 10, transaction: 15 }
  const everyMs = 1_000 / putsPerSecond
  let dueAt = performance.now()
  let isEnding = false

  const timer = setInterval(() => {
    // A steady rate, also after a moment in which this process did not run.
    while (performance.now() >= dueAt && inFlight.size < 500 && !isEnding) {
      dueAt += everyMs
      const way = random.weighted(ways)
      const one = way === 'put' ? onePut() : way === 'transaction' ? oneTransaction() : oneStatement(way)
      const startedAt = performance.now()
      inFlight.add(one)
      void one.finally(() => {
        inFlight.delete(one)
        const ms = performance.now() - startedAt
        if (ms > slowMs) log(`a ${way} took ${Math.round(ms)} ms`)
      })
    }
  }, 10)

  return {
    puts,
    /** Resolves when every put has been answered. */
    async end() {
      isEnding = true
      clearInterval(timer)
      await Promise.all(inFlight)
      // Half-open sessions never say goodbye.
      void pool.end().catch(() => {})
    },
  }
}
