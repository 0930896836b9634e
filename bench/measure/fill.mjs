/**
 * Write many jobs, without triggers and without waiting for the disk.
 *
 * @param {import('../server.mjs').Database} database
 * @param {{ schema: string, queue: string, jobs: number, state: 'ready' | 'scheduled' | 'failed' }} what `scheduled`:
 *   due in a month
 */
export async function fill(database, { schema, queue, jobs, state }) {
  await database.query('set session_replication_role = replica')
  await database.query('set synchronous_commit = off')
  for (let from = 1; from <= jobs; from += 100_000) {
    await database.query(
      `insert into ${schema}.job (queue, payload, state, run_at, finished_at)
       select $1::text, jsonb_build_object('number', number), $2::text,
         case when $2::text = 'scheduled' then now() + interval '30 days' + number * interval '1 s' else now() end,
         case when $2::text = 'failed' then clock_timestamp() end
       from generate_series($3::int, $4::int) as number`,
      [queue, state, from, Math.min(jobs, from + 99_999)],
    )
  }
  await database.query('reset session_replication_role')
  await database.query('reset synchronous_commit')
}

/**
 * Put jobs with large payloads. They compress well, so the table stays small; the server sends them at their full size.
 *
 * @param {import('../server.mjs').Database} database
 * @param {{ queue: string, jobs: number, bytes: number }} what
 */
export async function fillLarge(database, { queue, jobs, bytes }) {
  for (let from = 1; from <= jobs; from += 100) {
    await database.query(
      `insert into bugle.job (queue, payload)
       select $1::text, jsonb_build_object('number', number, 'text', repeat('x', $4::int))
       from generate_series($2::int, $3::int) as number`,
      [queue, from, Math.min(jobs, from + 99), bytes],
    )
  }
}
