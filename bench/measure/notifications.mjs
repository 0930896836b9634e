/** How many inserts wake somebody up: each notification is one commit's, and with single inserts one insert's. */

/**
 * @param {import('../server.mjs').Database} database
 * @param {string} [schema]
 * @returns {Promise<() => Promise<number>>} how many have come since it was asked last
 */
export async function countNotifications(database, schema = 'bugle') {
  const [{ channel }] = await database.query(`select 'bugle_' || '${schema}.job'::regclass::oid as channel`)
  let notified = 0
  await database.listen(channel, () => {
    notified += 1
  })
  return async () => {
    // Whatever was committed before it comes with its answer.
    await database.query('select')
    const since = notified
    notified = 0
    return since
  }
}
