import pg from 'pg'

/** The least that PostgreSQL takes, in pages of 8 kB: a queue that is full in a moment. From 17 on. */
export const settings = { max_notify_queue_pages: 64 }

const channel = 'somebody_else'

/**
 * Fill the server's NOTIFY queue, as any application does whose listener stays in a transaction: what that listener has
 * not read cannot be forgotten, and once the queue is full every commit that notifies fails with 54000.
 *
 * @param {string} connectionString
 */
export async function fillNotifyQueue(connectionString) {
  const listener = await connect(connectionString, 'listener of somebody else')
  const filler = await connect(connectionString, 'filler')
  await listener.query(`listen ${channel}`)
  await listener.query('begin')
  await listener.query('select')

  /** @returns whether it was refused since the queue is full */
  async function notify() {
    try {
      // Near the most that a payload may be: a page each.
      await filler.query(`select pg_notify('${channel}', repeat('x', 7900))`)
      return false
    } catch (error) {
      if (/** @type {{ code?: string }} */ (error).code === '54000') return true
      throw error
    }
  }

  for (let tries = 0; !(await notify()); tries += 1) {
    if (tries > 10_000) throw new Error('the NOTIFY queue does not become full')
  }

  return {
    /** @returns {Promise<string | null>} what shows that it is not full; null: it is, and NOTIFY fails */
    async lack() {
      const { rows } = await filler.query('select pg_notification_queue_usage() as usage')
      if (rows[0].usage < 1) return `pg_notification_queue_usage() is ${rows[0].usage}`
      return (await notify()) ? null : 'a NOTIFY was taken'
    },
    /** The transaction ends, so its session reads everything, and the queue is empty again. */
    async empty() {
      await listener.query('rollback')
    },
    end: async () => void (await Promise.allSettled([listener.end(), filler.end()])),
  }
}

/** @param {string} connectionString @param {string} name */
async function connect(connectionString, name) {
  const client = new pg.Client({ connectionString, application_name: name })
  client.on('error', () => {})
  await client.connect()
  return client
}
