/** The processor time of a database's sessions, where the server is on this machine and tells. */
import { readFileSync } from 'node:fs'

/**
 * @param {import('../server.mjs').Server} server
 * @param {import('../server.mjs').Database} database
 * @returns {Promise<ReadonlyMap<number, number>>} milliseconds by process id; empty where it cannot be known
 */
export async function backendCpu(server, database) {
  if (!server.isOurs) return new Map()
  const rows = await server.query(
    "select pid from pg_stat_activity where datname = $1 and application_name <> 'bugle bench'",
    [database.name],
  )
  const times = rows.map(({ pid }) => /** @type {const} */ ([pid, cpuMs(pid)]))
  return new Map(times.filter(([, ms]) => !Number.isNaN(ms)))
}

/**
 * @param {ReadonlyMap<number, number>} before
 * @param {ReadonlyMap<number, number>} after
 */
export function cpuBetween(before, after) {
  if (after.size === 0) return Number.NaN
  return [...after].reduce((sum, [pid, ms]) => sum + ms - (before.get(pid) ?? 0), 0)
}

/**
 * Its first field is the time on a processor, in nanoseconds.
 *
 * @param {number} pid
 * @see https://docs.kernel.org/scheduler/sched-stats.html
 */
function cpuMs(pid) {
  try {
    return Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')[0]) / 1e6
  } catch {
    return Number.NaN
  }
}
