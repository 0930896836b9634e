/**
 * How contenders live through what breaks around them: 300 single jobs a second of 5 ms, and one thing that is broken
 * (phases.mjs). By turns on one server, each in a database and in processes of its own.
 *
 * A job whose put was answered and that was not done a minute after the last put counts as lost: what is documented to
 * come back later does.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { startEmbedded } from '../../dist/embedded/index.js'
import { contender } from '../contenders/index.mjs'
import { rotated } from '../contenders/run.mjs'
import { addValue } from '../measure/figures.mjs'
import { withSession } from '../measure/session.mjs'
import { versionsOf } from '../peers.mjs'
import { nowMs } from '../processes.mjs'
import { settingsOf } from '../server.mjs'
import { median } from '../statistics.mjs'
import { accountOf, refusalsOf, tableOf } from './account.mjs'
import { openLoad } from './load.mjs'
import { phases } from './phases.mjs'

export const contenders = ['bugle', 'pg-boss-heartbeat', 'graphile-default', 'graphile-recommended']
export const tries = 3

const documented =
  "the jobs of a killed process come back, as documented: Graphile Worker's after 4 hours, pg-boss's after its " +
  'heartbeat (here 10 s, the least) and a pass of its monitor, which comes once a minute'

/**
 * @param {string} name of the phase
 * @param {{ tries: number, isSmoke: boolean, contenders: readonly string[], tell: (text: string) => void }} options
 * @returns {Promise<import('../scenarios.mjs').Result>}
 */
export async function runPhase(name, { tries, isSmoke, contenders: chosen, tell }) {
  const phase = phases[name]
  if (phase === undefined) throw new Error(`there is no phase '${name}'`)
  const shape = { slots: 20, handlerMs: 5, perSecond: isSmoke ? 100 : 300, processes: phase.processes }
  const server = await startEmbedded({ durability: 'on', settings: { max_connections: 300, ...phase.settings } })
  /** @type {import('../measure/figures.mjs').Figures} */
  const figures = {}
  try {
    const settings = await withSession(server.connectionString, settingsOf)
    for (let number = 0; number < tries; number += 1) {
      for (const one of rotated(chosen, number)) {
        const database = `recovery_${number}_${one.replaceAll(/[^a-z0-9]+/g, '_')}`
        const account = await runOnce({ phase, name: one, server, database, shape, isSmoke, tell })
        for (const [figure, [unit, value]] of Object.entries(account))
          addValue(figures, `${one}: ${figure}`, unit, value)
        const [, lost] = account.lost ?? ['', 0]
        const [, during] = account['done during it'] ?? ['', 0]
        tell(`recovery, ${name} ${number + 1}: ${one}: ${Math.round(during)} % during it, ${lost} lost`)
        if (one === 'bugle' && lost > 0) throw new Error(`${name}: Bugle has lost ${lost} jobs`)
      }
    }
    return {
      case: name,
      tries,
      settings: {
        phase: phase.what,
        ...shape,
        calmBeforeMs: phase.calmBeforeMs,
        calmAfterMs: phase.calmAfterMs,
        contenders: Object.fromEntries(chosen.map((one) => [one, contender(one).settings(shape.slots)])),
        server: settings,
      },
      figures,
      versions: versionsOf(chosen),
      notes: [
        ...tableOf(chosen, (one, figure) => median(figures[`${one}: ${figure}`]?.values ?? [])),
        phase.what,
        ...(/process|one-of-two/.test(name) ? [documented] : []),
      ],
    }
  } finally {
    await server.stop()
  }
}

/**
 * @param {object} what
 * @param {import('./phases.mjs').Phase} what.phase
 * @param {string} what.name of the contender
 * @param {import('../../dist/embedded/index.js').EmbeddedPostgres} what.server
 * @param {string} what.database
 * @param {{ slots: number, handlerMs: number, perSecond: number, processes: number }} what.shape
 * @param {boolean} what.isSmoke
 * @param {(text: string) => void} what.tell
 * @returns {Promise<ReturnType<typeof accountOf>>}
 */
async function runOnce({ phase, name, server, database, shape, isSmoke, tell }) {
  const { query, end } = admin(server.connectionString)
  await query(`create database ${database} template template0`)
  const url = new URL(server.connectionString)
  url.pathname = `/${database}`
  /** @type {import('./load.mjs').Load | undefined} */
  let load
  try {
    await contender(name).prepare(url.href)
    load = await openLoad({ contender: name, url: url.href, ...shape })
    load.begin()
    await sleep(isSmoke ? 1_000 : phase.calmBeforeMs)
    const harm = await phase.harm({ server, database, query, load, isSmoke })
    await sleep(Math.max(0, harm.to - nowMs()))
    await sleep(isSmoke ? 1_000 : phase.calmAfterMs)
    const loadEndedAt = nowMs()
    const patienceMs = 60_000
    await load.stopPutting(patienceMs)
    await untilAllDone(load, loadEndedAt + patienceMs)
    const account = accountOf({ puts: load.puts, runs: load.runs, harm, loadEndedAt, givenUpAt: nowMs() })
    for (const refusal of refusalsOf(load.puts).slice(0, 3)) tell(`recovery, ${name}: puts refused: ${refusal}`)
    return { ...account, 'processes that ended by themselves': ['processes', load.ends] }
  } finally {
    await load?.close()
    await query(`drop database ${database} with (force)`)
    await end()
  }
}

/**
 * @param {import('./load.mjs').Load} load
 * @param {number} until
 */
async function untilAllDone({ puts, runs }, until) {
  while (nowMs() < until) {
    const done = new Set(runs.filter(({ doneAt }) => doneAt !== null).map(({ n }) => n))
    if ([...puts.values()].every(({ n, doneAt }) => doneAt === undefined || done.has(n))) return
    await sleep(100)
  }
}

/**
 * A session of the bench's own, and another one where that has been lost: the server is restarted.
 *
 * @param {string} connectionString
 */
function admin(connectionString) {
  /** @type {pg.Client | null} */
  let client = null
  return {
    /** @param {string} text @param {readonly unknown[]} [params] */
    async query(text, params = []) {
      client ??= await open()
      return (await client.query(text, [...params])).rows
    },
    end: async () => void (await client?.end().catch(() => {})),
  }

  async function open() {
    const fresh = new pg.Client({ connectionString, application_name: 'bugle bench' })
    fresh.on('error', () => {})
    fresh.on('end', () => {
      if (client === fresh) client = null
    })
    await fresh.connect()
    return fresh
  }
}
