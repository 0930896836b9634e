import { loadPeer } from './load-peer.mjs'

const queue = 'bench'

/**
 * pg-boss with the options that its documentation has for speed: batches, fetched without a pause while they come full, and
 * woken by LISTEN/NOTIFY. A batch is as large as there are slots, and its jobs run at once; the next one is fetched when all of
 * them are done. With one slot it is larger, and its jobs run one after the other: batches of one always pause.
 *
 * @see https://pgboss.io/api/workers
 * @returns {import('./index.mjs').Contender}
 */
export function pgBoss() {
  /** @param {string} url @param {object} [options] */
  async function open(url, options) {
    const { PgBoss } = await loadPeer('pg-boss')
    const boss = new PgBoss({ connectionString: url, ...options })
    boss.on('error', (/** @type {Error} */ error) => console.error(`pg-boss: ${error.message}`))
    await boss.start()
    return boss
  }

  /** @param {number} slots */
  const workOptions = (slots) => ({ batchSize: slots === 1 ? 10 : slots, burstWhenBatchFull: true })

  return {
    async prepare(url) {
      const boss = await open(url)
      await boss.createQueue(queue, { notify: true })
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
          await boss.work(queue, workOptions(slots), async (/** @type {{ data: { n: number } }[]} */ jobs) => {
            if (slots > 1) await Promise.all(jobs.map(({ data }) => handler(data)))
            else for (const { data } of jobs) await handler(data)
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
    settings: (slots) => ({ useListenNotify: true, notify: true, ...workOptions(slots) }),
  }
}
