import pg from 'pg'
import { sessionSettings } from '../../dist/database/session.js'

/**
 * @param {string} url
 * @param {{ pipeline?: boolean }} [options] `pipeline`: statements are sent at once, and not each after the answer to
 *   the one before
 */
export async function connect(url, options = {}) {
  const client = new pg.Client({ connectionString: url, application_name: 'bugle bench', ...options })
  // A server that stops ends it; what is asked for then fails by itself.
  client.on('error', () => {})
  await client.connect()
  return client
}

/**
 * A session of its own, which ends with the use.
 *
 * @template Answer
 * @param {string} url
 * @param {(client: pg.Client) => Promise<Answer>} use
 */
export async function withSession(url, use) {
  const client = await connect(url)
  try {
    return await use(client)
  } finally {
    await client.end()
  }
}

/**
 * A session with the settings that the library gives its own.
 *
 * @param {string} url
 * @param {Parameters<typeof connect>[1]} [options]
 */
export async function openSession(url, options) {
  const client = await connect(url, options)
  const { rows } = await client.query('show server_version_num')
  const settings = sessionSettings(Number(rows[0].server_version_num), 10_000)
  await client.query('select set_config(key, value, false) from json_each_text($1)', [JSON.stringify(settings)])
  return client
}
