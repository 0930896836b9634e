/** What a run costs beside its time: log, dead rows, processors. */
import { setTimeout as sleep } from 'node:timers/promises'
import { serverCpu } from './cpu.mjs'

/**
 * @typedef {object} Costs
 * @property {number} walBytes written to the log, by whatever ran on the server
 * @property {number} serverMs of processor; NaN where it cannot be known
 */

/**
 * Begin to count.
 *
 * @param {import('../server.mjs').Server} server
 * @param {import('../server.mjs').Database} database
 * @returns {Promise<() => Promise<Costs>>} what it was up to now
 */
export async function countCosts(server, database) {
  const read = async () => {
    const serverMs = await serverCpu(server, database)
    const [{ bytes }] = await database.query("select (pg_current_wal_insert_lsn() - '0/0')::float8 as bytes")
    return { serverMs, walBytes: bytes }
  }
  const before = await read()
  return async () => {
    const after = await read()
    return { serverMs: after.serverMs - before.serverMs, walBytes: after.walBytes - before.walBytes }
  }
}

/** How long the sessions of processes that have ended may take to end. */
const endingMs = 2_000

/**
 * Rows of the database's tables that nobody sees any more and no vacuum has cleared away. Sessions report them at their
 * end at the latest: call it when all processes of the run have ended.
 *
 * @param {import('../server.mjs').Database} database
 * @returns {Promise<number>}
 */
export async function deadRows(database) {
  const deadline = performance.now() + endingMs
  for (;;) {
    const [{ others }] = await database.query(
      `select count(*)::int as others
       from pg_stat_activity
       where datname = $1
         and backend_type = 'client backend'
         and pid <> pg_backend_pid()`,
      [database.name],
    )
    if (others === 0 || performance.now() > deadline) break
    await sleep(5)
  }
  const [{ dead }] = await database.query('select sum(n_dead_tup)::float8 as dead from pg_stat_user_tables')
  return dead ?? 0
}
