/** The processor time of a database's sessions, or of its server, where that is on this machine and tells. */
import { readdirSync, readFileSync } from 'node:fs'

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

/**
 * The whole server: sessions, writers, vacuum, those that have ended as well; but for one session.
 *
 * @param {import('../server.mjs').Server} server
 * @param {import('../server.mjs').Database} database its own session is left out: it is that of whoever measures
 * @returns {Promise<number>} milliseconds since the server's start, in steps of 10; NaN where it cannot be known
 */
export async function serverCpu(server, database) {
  if (!server.isOurs) return Number.NaN
  const [{ pid: ours }] = await database.query('select pg_backend_pid() as pid')
  try {
    const postmaster = statOf(statOf(ours).parent)
    const children = readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map((name) => statIfThere(Number(name)))
      .filter((stat) => stat?.parent === postmaster.pid && stat.pid !== ours)
    return postmaster.ms + postmaster.endedMs + children.reduce((sum, child) => sum + (child?.ms ?? 0), 0)
  } catch {
    return Number.NaN
  }
}

/** Linux counts in hundredths of a second, whatever its timer does. */
const msPerTick = 10

/**
 * @param {number} pid
 * @returns {{ pid: number, parent: number, ms: number, endedMs: number }} `endedMs`: of its children that have ended
 * @see https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
 */
function statOf(pid) {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
  // Its second field is a name, which may contain anything; the third comes first here.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const [user = 0, system = 0, endedUser = 0, endedSystem = 0] = fields.slice(11, 15).map(Number)
  return {
    pid,
    parent: Number(fields[1]),
    ms: (user + system) * msPerTick,
    endedMs: (endedUser + endedSystem) * msPerTick,
  }
}

/** @param {number} pid */
function statIfThere(pid) {
  try {
    return statOf(pid)
  } catch {
    return undefined
  }
}
