import pg from 'pg'
import { sessionSettings } from '../../dist/database/session.js'

/**
 * A session with the settings that the library gives its own.
 *
 * @param {string} url
 */
export async function openSession(url) {
  const client = new pg.Client({ connectionString: url, application_name: 'bugle bench' })
  // A server that stops ends it; what is asked for then fails by itself.
  client.on('error', () => {})
  await client.connect()
  const { rows } = await client.query('show server_version_num')
  const settings = sessionSettings(Number(rows[0].server_version_num), 10_000)
  await client.query('select set_config(key, value, false) from json_each_text($1)', [JSON.stringify(settings)])
  return client
}
