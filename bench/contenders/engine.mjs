import { loadStatements } from '../../dist/database/statements.js'
import { openSession } from '../measure/session.mjs'
import { bugle } from './bugle.mjs'
import { floorAfter } from './floor.mjs'

const sql = loadStatements('bugle')

/**
 * The yardstick: our own statements in bare loops, one a connection, with the sessions' settings of the library and
 * nothing of it around them: settle one batch and claim the next, in one statement, and call the handler for each job.
 *
 * @param {{ batch?: number, connections?: number }} options `batch`: jobs per statement; by default as many as there
 *   are slots
 * @returns {import('./index.mjs').Contender}
 */
export function engine({ batch, connections = 1 }) {
  return {
    ...bugle({}),
    async openConsumer(url, { slots, handler }) {
      const size = batch ?? slots
      const clients = await Promise.all(Array.from({ length: connections }, () => openSession(url)))
      const workerId = String(process.pid)
      await clients[0]?.query(sql.worker_insert, [workerId, 'engine', 'bench', process.pid, '0', 3_600_000, 3_600_000])
      let isStopping = false
      /** @type {Promise<unknown> | undefined} */
      let running

      /** @param {import('pg').Client} client */
      async function loop(client) {
        /** @type {Job[]} */
        let done = []
        while (!isStopping) {
          const jobs = await settleAndClaim(client, workerId, done, size)
          await Promise.all(jobs.map(({ payload }) => handler(JSON.parse(payload))))
          done = jobs
        }
        await settle(client, workerId, done)
      }

      return {
        async start() {
          isStopping = false
          running = Promise.all(clients.map(loop))
        },
        async stop() {
          isStopping = true
          await running
        },
        end: async () => void (await Promise.all(clients.map((client) => client.end()))),
      }
    },
    settings: (slots) => ({ batch: batch ?? slots, connections, statements: 'settle and claim in one' }),
  }
}

/** @typedef {{ id: string, lease: string, priority: number, payload: string }} Job */

/**
 * @param {import('pg').Client} client
 * @param {string} workerId
 * @param {readonly Job[]} done
 * @param {number} limit
 * @returns {Promise<Job[]>}
 */
async function settleAndClaim(client, workerId, done, limit) {
  const acked = done.length > 0 ? arrays(done) : [null, null]
  const values = ['bench', limit, workerId, null, ...acked, floorAfter(done, limit), 'false', 'false']
  const { rows } = await client.query({ name: 'claim', text: sql.claim, values })
  // The last row is about the queue.
  return rows.slice(0, -1)
}

/**
 * @param {import('pg').Client} client
 * @param {string} workerId
 * @param {readonly Job[]} done
 */
async function settle(client, workerId, done) {
  if (done.length > 0) await client.query({ name: 'settle', text: sql.settle, values: [workerId, ...arrays(done)] })
}

/** @param {readonly Job[]} jobs */
function arrays(jobs) {
  return [`{${jobs.map(({ id }) => id).join()}}`, `{${jobs.map(({ lease }) => lease).join()}}`]
}
