import { loadPeer } from './load-peer.mjs'

const task = 'bench'

/**
 * Graphile Worker, in one of three set-ups. Each has a pool of slots + 2 connections, or 10, as its documentation
 * advises.
 *
 * - default: nothing else is set
 * - recommended: a local queue of one more than the slots, and results written every 250 ms, as its documentation
 *   proposes to begin with
 * - record: that of its own performance test
 *
 * @see https://worker.graphile.org/docs/performance
 * @param {'default' | 'recommended' | 'record'} setUp
 * @param {string} packageName
 * @returns {import('./index.mjs').Contender}
 */
export function graphile(setUp, packageName) {
  const logger = async () => new (await loadPeer(packageName)).Logger(() => () => {})
  return {
    async prepare(url) {
      const { runMigrations } = await loadPeer(packageName)
      await runMigrations({ connectionString: url, logger: await logger() })
    },
    async openProducer(url, { connections }) {
      const { makeWorkerUtils } = await loadPeer(packageName)
      const pool = await openPool(url, connections)
      const utils = await makeWorkerUtils({ pgPool: pool, logger: await logger() })
      return {
        addOne: (payload) => utils.addJob(task, payload),
        addMany: (payloads) => utils.addJobs(payloads.map((payload) => ({ identifier: task, payload }))),
        async end() {
          await utils.release()
          await pool.end()
        },
      }
    },
    async openConsumer(url, { slots, handler }) {
      const { run } = await loadPeer(packageName)
      const pool = await openPool(url, poolSize(slots))
      const preset = { worker: { concurrentJobs: slots, ...setUps[setUp](slots), logger: await logger() } }
      /** @type {any} */
      let runner
      return {
        async start() {
          runner = await run({ pgPool: pool, preset, taskList: { [task]: handler }, noHandleSignals: true })
        },
        stop: () => runner.stop(),
        end: () => pool.end(),
      }
    },
    async left(query) {
      const [row] = await query('select count(*)::int as jobs from graphile_worker._private_jobs')
      return row.jobs
    },
    settings: (slots) => ({ concurrentJobs: slots, maxPoolSize: poolSize(slots), ...setUps[setUp](slots) }),
  }
}

const setUps = {
  default: () => ({}),
  recommended: (/** @type {number} */ slots) => ({
    localQueue: { size: slots + 1 },
    completeJobBatchDelay: 250,
    failJobBatchDelay: 250,
  }),
  record: () => ({
    localQueue: { size: 500, refetchDelay: { durationMs: 10 } },
    completeJobBatchDelay: 0,
    failJobBatchDelay: 0,
  }),
}

/** @param {number} slots */
function poolSize(slots) {
  return Math.max(10, slots + 2)
}

/** @param {string} url @param {number} max */
async function openPool(url, max) {
  const { default: pg } = await loadPeer('pg')
  // What the warm-up has opened is still open when the clock starts, however long the loading takes.
  const pool = new pg.Pool({ connectionString: url, max, idleTimeoutMillis: 0 })
  // It asks for both handlers, with a warning.
  pool.on('error', () => {})
  pool.on('connect', (/** @type {import('pg').PoolClient} */ client) => client.on('error', () => {}))
  return pool
}
