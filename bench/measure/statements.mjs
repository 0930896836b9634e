/**
 * What a database was asked, by pg_stat_statements. Its figures are there at once; those of pg_stat_database come when
 * a session ends, or up to ten seconds late.
 */

import { loadStatements } from '../../dist/database/statements.js'
import { startServer } from '../server.mjs'

const namesBySkeleton = new Map(Object.entries(loadStatements('bugle')).map(([name, text]) => [skeletonOf(text), name]))

/**
 * A server of our own that counts: pg_stat_statements must be there from the start. With DATABASE_URL it must be so
 * anyway.
 *
 * @param {Readonly<Record<string, string | number | boolean>>} [settings] more of them
 */
export async function startCountingServer(settings = {}) {
  const server = await startServer({ settings: { shared_preload_libraries: 'pg_stat_statements', ...settings } })
  try {
    await server.query('create extension if not exists pg_stat_statements')
    await server.query('select from pg_stat_statements limit 1')
    return server
  } catch (error) {
    await server.stop()
    throw error
  }
}

/**
 * @typedef {Map<string, { calls: number, ms: number }>} Counts by the statement's name
 */

/**
 * @param {import('../server.mjs').Server} server
 * @param {import('../server.mjs').Database} database
 * @returns {Promise<Counts>}
 */
export async function statementCounts(server, database) {
  const rows = await server.query(
    `select query, sum(calls)::float8 as calls, sum(total_exec_time)::float8 as ms
     from pg_stat_statements
     where dbid = (select oid from pg_database where datname = $1)
     group by query`,
    [database.name],
  )
  /** @type {Counts} */
  const counts = new Map()
  for (const { query, calls, ms } of rows) {
    const name = nameOf(query)
    const { calls: before, ms: msBefore } = counts.get(name) ?? { calls: 0, ms: 0 }
    counts.set(name, { calls: before + calls, ms: msBefore + ms })
  }
  return counts
}

/**
 * What came between two counts, most frequent first; only statements that came at all.
 *
 * @param {Counts} before
 * @param {Counts} after
 * @returns {Counts}
 */
export function between(before, after) {
  const changes = [...after].map(([name, { calls, ms }]) => {
    const { calls: callsBefore, ms: msBefore } = before.get(name) ?? { calls: 0, ms: 0 }
    return /** @type {const} */ ([name, { calls: calls - callsBefore, ms: ms - msBefore }])
  })
  return new Map(changes.filter(([, { calls }]) => calls > 0).sort(([, one], [, other]) => other.calls - one.calls))
}

/** @param {Counts} counts */
export function allCalls(counts) {
  return [...counts.values()].reduce((sum, { calls }) => sum + calls, 0)
}

/**
 * Claims, alone or together with something else in one statement. There may have been none.
 *
 * @param {Counts} counts
 */
export function claimsOf(counts) {
  let calls = 0
  let ms = 0
  for (const [name, count] of counts) {
    if (!/(^|_)claim/.test(name)) continue
    calls += count.calls
    ms += count.ms
  }
  return { calls, ms }
}

/**
 * pg_stat_statements keeps neither our comment with the name nor the constants: ours are known by what is left of them.
 *
 * @param {string} query
 */
function nameOf(query) {
  const skeleton = skeletonOf(query)
  return namesBySkeleton.get(skeleton) ?? skeleton.slice(0, 60)
}

/** @param {string} text */
function skeletonOf(text) {
  return text
    .replaceAll(/\/\*.*?\*\//g, '')
    .replaceAll(/extract\([^ ]+/g, 'extract(?')
    .replaceAll(/E?'[^']*'|\$\d+|(?<=[=<>] )-\d+|\b\d+(\.\d+)?\b|\b(null|true|false)\b/gi, '?')
    .replaceAll(/\?(\s*,\s*\?)+/g, '?')
    .replaceAll(/\s+/g, ' ')
    .replaceAll(/ ?([()]) ?/g, '$1')
    .trim()
}
