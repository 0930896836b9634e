import { connect } from './session.mjs'

/**
 * A transaction with an id, left open: as somebody's long one, or one that was forgotten.
 *
 * @param {string} url
 * @returns {Promise<import('pg').Client>} to be ended
 */
export async function openTransaction(url) {
  const client = await connect(url)
  await client.query('create table if not exists others (number int)')
  await client.query('begin')
  await client.query('insert into others values (1)')
  return client
}
