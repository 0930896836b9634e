import { loadPeer } from './load-peer.mjs'

const queue = 'bench'

/** The best of what was tried for speed, see below. */
const fastest = {
  batchSize: 500,
  chosen: 'the fastest of batches of 24, 100 and 500, and of localConcurrency 4 with batches of 6',
}

/**
 * pg-boss with the options that its documentation has for speed: batches, fetched without a pause while they come full,
 * and woken by LISTEN/NOTIFY. A batch is of 500, of which as many run at once as there are slots; the next one is
 * fetched when all of them are done. That is the best of what was tried (20,000 no-op jobs, 24 slots, 2 cores,
 * PostgreSQL 18.4): 6,200 jobs a second; with batches of 100 5,900; of 24, one job a slot, 3,200; and with
 * `localConcurrency: 4` and batches of 6 2,000.
 *
 * @see https://pgboss.io/api/workers
 * @param {object} [options]
 * @param {number} [options.batchSize]
 * @param {number} [options.heartbeatSeconds] of its queue: without them the jobs of a killed process come back
 *   after 15 minutes
 * @param {string} [options.chosen] why they are so
 * @returns {import('./index.mjs').Contender}
 */
export function pgBoss({ batchSize = fastest.batchSize, heartbeatSeconds, chosen = fastest.chosen } = {}) {
  /** @param {string} url @param {object} [options] */
  async function open(url, options) {
    const { PgBoss } = await loadPeer('pg-boss')
    const boss = new PgBoss({ connectionString: url, idleTimeoutMillis: 0, ...options })
    boss.on('error', (/** @type {Error} */ error) => console.error(`pg-boss: ${error.message}`))
    await boss.start()
    return boss
  }

  const workOptions = { batchSize, burstWhenBatchFull: true }
  const queueOptions = { notify: true, ...(heartbeatSeconds !== undefined && { heartbeatSeconds }) }

  return {
    async prepare(url) {
      const boss = await open(url)
      await boss.createQueue(queue, queueOptions)
      await boss.stop()
    },
    async openProducer(url, { connections }) {
      const boss = await open(url, { max: connections, supervise: false, schedule: false })
      return {
        addOne: (payload) => boss.send(queue, payload),
        addMany: (payloads) =>
          boss.insert(
            queue,
            payloads.map((data) => ({ data })),
          ),
        end: () => boss.stop(),
      }
    },
    async openConsumer(url, { slots, handler }) {
      const boss = await open(url, { useListenNotify: true })
      return {
        async start() {
          await boss.work(queue, workOptions, async (/** @type {{ data: { n: number } }[]} */ jobs) => {
            const rest = jobs.values()
            const oneByOne = async () => {
              for (const { data } of rest) await handler(data)
            }
            await Promise.all(Array.from({ length: slots }, oneByOne))
          })
        },
        stop: () => boss.offWork(queue),
        end: () => boss.stop(),
      }
    },
    async left(query) {
      const [row] = await query("select count(*)::int as jobs from pgboss.job where state <> 'completed'")
      return row.jobs
    },
    settings: (slots) => ({
      useListenNotify: true,
      ...queueOptions,
      ...workOptions,
      handlersAtOnce: slots,
      chosen,
    }),
  }
}
