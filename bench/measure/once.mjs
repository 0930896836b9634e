/** Proof that every job has run exactly once. */

/**
 * @typedef {object} Runs
 * @property {Float64Array} ids of the jobs, one per run
 * @property {Float64Array} waitsMs from put to start
 */

/**
 * @param {import('../server.mjs').Database} database
 * @param {{ schema?: string, expected: number, runs: readonly Runs[], left?: number }} what `left`: so many jobs are to
 *   be in the table still
 */
export async function demandOnce(database, { schema = 'bugle', expected, runs, left = 0 }) {
  const ran = new Set(runs.flatMap(({ ids }) => [...ids]))
  const total = runs.reduce((sum, { ids }) => sum + ids.length, 0)
  if (total !== expected || ran.size !== expected)
    throw new Error(`${expected} jobs were to run once each: ${ran.size} ran, ${total} times in all`)
  const isLeft = await jobsLeft(database, schema)
  if (isLeft !== left) throw new Error(`${left} jobs were to be left in the table; there are ${isLeft}`)
}

/**
 * @param {import('../server.mjs').Database} database
 * @param {string} [schema]
 * @returns {Promise<number>}
 */
export async function jobsLeft(database, schema = 'bugle') {
  const [row] = await database.query(`select count(*)::int as jobs from ${schema}.job`)
  return row.jobs
}

/**
 * Resolves once consumers have run so many jobs, and none is left in the table.
 *
 * @param {import('../server.mjs').Database} database
 * @param {{ schema?: string, consumers: readonly import('../processes.mjs').Child[], expected: number, left?: number,
 *   withinMs?: number }} what
 */
export async function untilDone(database, { schema = 'bugle', consumers, expected, left = 0, withinMs = 60_000 }) {
  const deadline = performance.now() + withinMs
  for (;;) {
    const counts = await Promise.all(consumers.map((consumer) => consumer.ask('count')))
    const runs = counts.reduce((sum, count) => sum + count.runs, 0)
    // The count of the table is the dear one: only when it can be right.
    if (runs >= expected && (await jobsLeft(database, schema)) <= left) return
    if (performance.now() > deadline)
      throw new Error(`${runs} of ${expected} jobs have run after ${withinMs / 1_000} s`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
