import { loadPeer } from './load-peer.mjs'

const queueName = 'bench'

/**
 * BullMQ on its PostgreSQL backend: a pool as large as there are slots, and done jobs removed, as its documentation
 * advises.
 *
 * @see https://docs.bullmq.io/guide/postgresql
 * @returns {import('./index.mjs').Contender}
 */
export function bullmq() {
  const removed = { removeOnComplete: true }
  /** @param {number} slots */
  const poolSize = (slots) => Math.max(10, slots)

  return {
    async prepare(url) {
      const { runMigrations } = await loadPeer('bullmq')
      const { default: pg } = await loadPeer('pg')
      const client = new pg.Client({ connectionString: url })
      await client.connect()
      await runMigrations(client)
      await client.end()
    },
    async openProducer(url, { connections }) {
      const { Queue, createPostgresBackend } = await loadPeer('bullmq')
      const queue = new Queue(
        queueName,
        { connection: { connectionString: url, max: connections }, defaultJobOptions: removed },
        createPostgresBackend,
      )
      await queue.waitUntilReady()
      return {
        addOne: (payload) => queue.add('bench', payload),
        addMany: (payloads) => queue.addBulk(payloads.map((data) => ({ name: 'bench', data }))),
        end: () => queue.close(),
      }
    },
    async openConsumer(url, { slots, handler }) {
      const { Worker, createPostgresBackend } = await loadPeer('bullmq')
      const open = async () => {
        const worker = new Worker(
          queueName,
          (/** @type {{ data: { n: number } }} */ job) => handler(job.data),
          { connection: { connectionString: url, max: poolSize(slots) }, concurrency: slots, autorun: false },
          createPostgresBackend,
        )
        worker.on('error', (/** @type {Error} */ error) => console.error(`bullmq: ${error.message}`))
        await worker.waitUntilReady()
        return worker
      }
      let worker = await open()
      return {
        // Resolves only when the worker is closed.
        start: async () => void worker.run(),
        // A closed one is closed for good; its successor is connected, as the others stay connected.
        async stop() {
          await worker.close()
          worker = await open()
        },
        end: () => worker.close(),
      }
    },
    async left(query) {
      const [row] = await query("select count(*)::int as jobs from bullmq.job where state <> 'completed'")
      return row.jobs
    },
    settings: (slots) => ({ concurrency: slots, max: poolSize(slots), ...removed }),
  }
}
