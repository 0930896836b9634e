import postgres from 'postgres'

/**
 * The yardstick of a put: a prepared insert of one row into a plain table, by the client that a put of ours goes
 * through.
 *
 * @param {string} url
 * @returns {Promise<import('./index.mjs').Producer>}
 */
export async function openBareInsert(url) {
  const sql = postgres(url, { onnotice: () => {} })
  await sql`
    create table if not exists bare (
      id bigint primary key generated always as identity,
      queue text not null,
      payload jsonb not null
    )
  `
  return {
    addOne: (payload) =>
      sql`insert into bare (queue, payload) values ('bench', ${sql.json({ ...payload })}) returning id`,
    addMany: async () => {},
    end: () => sql.end(),
  }
}
