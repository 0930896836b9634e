import { openSession } from '../measure/session.mjs'
import { bugle } from './bugle.mjs'
import { floorAfter } from './floor.mjs'

/**
 * The yardstick of the express lane: its statements in a bare loop on one connection, and nothing of the library around
 * them. A transaction locks ready rows, the handler is called for each job, and the same transaction deletes the rows
 * by their place. What ends one transaction and begins the next goes out in one write.
 *
 * @param {{ batch: number }} options jobs per transaction
 * @returns {import('./index.mjs').Contender}
 */
export function engineExpress({ batch }) {
  return {
    ...bugle({}),
    async openConsumer(url, { handler }) {
      const client = await openSession(url, { pipeline: true })
      // Without it each delete reads the whole table.
      await client.query('set enable_tidscan = on')
      let isStopping = false
      /** @type {Promise<unknown> | undefined} */
      let running

      async function loop() {
        let jobs = await claim(client, floorAfter([], batch), batch)
        while (!isStopping) {
          await Promise.all(jobs.map(({ payload }) => handler(JSON.parse(payload))))
          const committed = commit(client, jobs)
          const next = claim(client, floorAfter(jobs, batch), batch)
          await committed
          jobs = await next
        }
        // Those of the last claim have not begun.
        await commit(client, [])
      }

      return {
        async start() {
          isStopping = false
          running = loop()
          // Whoever stops it hears of it.
          running.catch(() => {})
        },
        async stop() {
          isStopping = true
          await running
        },
        end: () => client.end(),
      }
    },
    settings: () => ({ batch, connections: 1, statements: 'lock, delete by place and commit' }),
  }
}

/** @typedef {{ id: string, place: string, priority: number, payload: string }} Job */

/**
 * @param {import('pg').Client} client
 * @param {string} floor
 * @param {number} limit
 * @returns {Promise<Job[]>}
 */
async function claim(client, floor, limit) {
  const begun = client.query({ name: 'begin', text: 'begin' })
  const locked = client.query({ name: 'lock', text: 'lock table bugle.job in row exclusive mode' })
  const claimed = client.query({ name: 'claim', text: claimText, values: ['bench', floor, limit] })
  await begun
  await locked
  return (await claimed).rows
}

// Not `order by id`: that would be the text, which no index has in order.
const claimText = `
  select id::text as id, ctid::text as place, priority, payload::text as payload
  from bugle.job
  where queue = $1
    and state = 'ready'
    and id > $2
    and crashes = 0
    and key is null
  order by priority desc, job.id
  limit $3
  for update skip locked`

/**
 * @param {import('pg').Client} client
 * @param {readonly Job[]} done
 */
async function commit(client, done) {
  const places = `{${done.map(({ place }) => `"${place}"`).join()}}`
  const deleted = client.query({
    name: 'delete',
    text: 'delete from bugle.job where ctid = any($1::tid[])',
    values: [places],
  })
  const committed = client.query({ name: 'commit', text: 'commit' })
  const { rowCount } = await deleted
  const { command } = await committed
  if (rowCount !== done.length) throw new Error(`${done.length} rows were to be deleted; ${rowCount} were`)
  if (command !== 'COMMIT') throw new Error(`commit was answered with ${command}`)
}
