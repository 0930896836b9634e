import { createBugle } from '../../dist/index.js'

const queue = 'bench'

/** What goes wrong is said, as the peers' errors are. */
const logger = { info: () => {}, warn: console.error, error: console.error }

/**
 * Bugle at its default options, but for the number of slots and what is given.
 *
 * @param {{ prefetch?: number, express?: boolean }} options of `consume`
 * @returns {import('./index.mjs').Contender}
 */
export function bugle(options) {
  return {
    async prepare(url) {
      const instance = createBugle({ connectionString: url })
      await instance.migrate()
      await instance.close()
    },
    async openProducer(url, { connections }) {
      // Half of a pool is for puts.
      const instance = createBugle({ connectionString: url, poolSize: 2 * connections })
      return {
        addOne: (payload) => instance.put(queue, payload),
        addMany: (payloads) => instance.putMany(queue, payloads),
        end: () => instance.close(),
      }
    },
    async openConsumer(url, { slots, handler }) {
      /** @type {import('../../dist/index.js').Bugle<{ bench: import('./index.mjs').Payload }>} */
      const instance = createBugle({ connectionString: url, logger })
      /** @type {import('../../dist/index.js').Consumer | undefined} */
      let consumer
      return {
        async start() {
          consumer = await instance.consume(queue, (job) => handler(job.payload), { concurrency: slots, ...options })
        },
        stop: async () => void (await consumer?.stop()),
        end: () => instance.close(),
      }
    },
    async left(query) {
      const [row] = await query('select count(*)::int as jobs from bugle.job')
      return row.jobs
    },
    settings: (slots) => ({ concurrency: slots, ...options }),
  }
}
