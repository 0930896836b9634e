/** What is broken, and when. */
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { nowMs } from '../processes.mjs'

/**
 * @typedef {object} Surroundings
 * @property {import('../../dist/embedded/index.js').EmbeddedPostgres} server
 * @property {string} database the contender's
 * @property {(text: string, params?: readonly unknown[]) => Promise<any[]>} query as somebody whose session nobody ends
 * @property {import('./load.mjs').Load} load
 * @property {boolean} isSmoke
 *
 * @typedef {object} Harm
 * @property {number} from
 * @property {number} to what is done from then on counts as done after it
 * @property {number} overAt from when on the contender could work again
 *
 * @typedef {object} Phase
 * @property {string} what
 * @property {number} processes of the contender
 * @property {number} calmBeforeMs
 * @property {number} calmAfterMs the load goes on
 * @property {Readonly<Record<string, number>>} [settings] of the server
 * @property {(surroundings: Surroundings) => Promise<Harm>} harm
 */

/** Of a harm that is a moment: its consequences are looked at for so long. */
/** @param {boolean} isSmoke */
const consequencesMs = (isSmoke) => (isSmoke ? 1_000 : 5_000)
const strangers = 300

/** @type {Readonly<Record<string, Phase>>} */
export const phases = {
  'backends-killed': {
    what: 'ten times a second a backend of the contender, picked at random, is terminated, for 25 s',
    processes: 1,
    calmBeforeMs: 3_000,
    calmAfterMs: 15_000,
    async harm({ database, query, isSmoke }) {
      const from = nowMs()
      for (let killed = 0; nowMs() < from + (isSmoke ? 2_000 : 25_000); killed += 1) {
        await query(
          `select pg_terminate_backend(pid)
           from (
             select pid from pg_stat_activity
             where datname = $1 and backend_type = 'client backend' and pid <> pg_backend_pid()
             order by random()
             limit 1
           ) as picked`,
          [database],
        )
        await sleep(Math.max(0, from + (killed + 1) * 100 - nowMs()))
      }
      const to = nowMs()
      return { from, to, overAt: to }
    },
  },
  'restarted-under-load': {
    what: 'after 15 s the server is restarted (fast)',
    processes: 1,
    calmBeforeMs: 15_000,
    calmAfterMs: 15_000,
    async harm({ server, isSmoke }) {
      const from = nowMs()
      await server.restart('fast')
      const overAt = nowMs()
      return { from, to: overAt + consequencesMs(isSmoke), overAt }
    },
  },
  'one-of-two-killed': {
    what: 'of two processes one is killed (SIGKILL), and does not come back',
    processes: 2,
    calmBeforeMs: 5_000,
    calmAfterMs: 20_000,
    async harm({ load, isSmoke }) {
      const from = nowMs()
      await load.kill(0, { comesBack: false })
      return { from, to: from + consequencesMs(isSmoke), overAt: from }
    },
  },
  'only-process-killed': {
    what: 'every 10 s, three times, the only process is killed (SIGKILL), and started again half a second later',
    processes: 1,
    calmBeforeMs: 5_000,
    calmAfterMs: 15_000,
    async harm({ load, isSmoke }) {
      const from = nowMs()
      const times = isSmoke ? 1 : 3
      for (let time = 0; time < times; time += 1) {
        if (time > 0) await sleep(10_000)
        await load.kill(0, { comesBack: true })
      }
      const overAt = nowMs()
      return { from, to: overAt + consequencesMs(isSmoke), overAt }
    },
  },
  'connections-taken': {
    what:
      `all sessions of the contender are ended, and somebody else opens ${strangers} of the 315 connections that ` +
      'there are, for 15 s',
    processes: 1,
    calmBeforeMs: 5_000,
    calmAfterMs: 15_000,
    settings: { max_connections: 315, superuser_reserved_connections: 0 },
    async harm({ server, database, query, isSmoke }) {
      const from = nowMs()
      const others = await takeConnections(server.connectionString, strangers)
      try {
        await query(
          `select pg_terminate_backend(pid) from pg_stat_activity
           where datname = $1 and backend_type = 'client backend' and pid <> pg_backend_pid()`,
          [database],
        )
        const overAt = nowMs()
        await sleep(isSmoke ? 1_000 : 15_000)
        return { from, to: nowMs(), overAt }
      } finally {
        await Promise.allSettled(others.map((client) => client.end()))
      }
    },
  },
}

/**
 * @param {string} connectionString
 * @param {number} wanted as many of them as can be had
 */
async function takeConnections(connectionString, wanted) {
  const clients = []
  for (let number = 0; number < wanted; number += 1) {
    const client = new pg.Client({ connectionString, application_name: 'somebody else' })
    client.on('error', () => {})
    try {
      await client.connect()
      clients.push(client)
    } catch {
      await client.end().catch(() => {})
      break
    }
  }
  return clients
}
