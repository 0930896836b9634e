/**
 * Who consumes the queue while it is written to:
 *
 * - `absent`: nobody
 * - `busy`: a process whose slots are all taken by handlers that do not end: it holds no lock, so the trigger is silent
 * - `asleep`: somebody who never wakes. A session that holds the queue's lock and listens, as a sleeping consumer does:
 *   every insert notifies. It is the dearest that our trigger can get; a real consumer wakes up, and lingers without
 *   the lock
 */
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { loadStatements } from '../../dist/database/statements.js'
import { createBugle } from '../../dist/index.js'
import { startConsumer, stopAll } from '../measure/consumers.mjs'
import { untilAsleep } from '../measure/sleepers.mjs'

/** @typedef {'absent' | 'busy' | 'asleep'} Surrounding */

/**
 * @param {Surrounding} surrounding
 * @param {{ database: import('../server.mjs').Database, schema: string, queue: string }} where
 * @returns {Promise<{ end: () => Promise<void> }>}
 */
export async function surround(surrounding, where) {
  // Nobody could consume the bare table: it has the same processor to itself that a waiting process leaves to the
  // others.
  if (surrounding === 'absent' || where.schema === 'bare') return { end: async () => {} }
  return surrounding === 'busy' ? keepBusy(where) : layAsleep(where)
}

/** @param {{ database: import('../server.mjs').Database, schema: string, queue: string }} where */
async function keepBusy({ database, schema, queue }) {
  const slots = 10
  const consumer = await startConsumer({
    url: database.url,
    schema,
    queues: [queue],
    concurrency: slots,
    handlerMs: null,
  })
  const bugle = createBugle({ connectionString: database.url, schema })
  await bugle.putMany(queue, Array(slots).fill(null))
  await bugle.close()
  while ((await consumer.ask('count')).runs < slots) await sleep(20)
  await untilAsleep(database, 0, { schema })
  return {
    async end() {
      // Before the handlers end, or there would be slots for what was written.
      await database.query(`delete from ${schema}.job where state = 'ready'`)
      consumer.send('letGo')
      await stopAll([consumer])
    },
  }
}

/** @param {{ database: import('../server.mjs').Database, schema: string, queue: string }} where */
async function layAsleep({ database, schema, queue }) {
  const statements = loadStatements(schema)
  const client = new pg.Client({ connectionString: database.url, application_name: 'bench sleeper' })
  await client.connect()
  const { rows } = await client.query(statements.channel)
  await client.query(`listen ${rows[0].channel}`)
  await client.query(statements.asleep_take, [queue])
  return { end: () => client.end() }
}
