import pg from 'pg'

/**
 * A transaction with an id, left open: as somebody's long one, or one that was forgotten.
 *
 * @param {string} url
 * @returns {Promise<pg.Client>} to be ended
 */
export async function openTransaction(url) {
  const client = new pg.Client({ connectionString: url, application_name: 'bugle bench' })
  client.on('error', () => {})
  await client.connect()
  await client.query('create table if not exists others (number int)')
  await client.query('begin')
  await client.query('insert into others values (1)')
  return client
}
