/**
 * 64 processes asleep, and the server is restarted: how many connections they make until all sleep again, as the
 * server's own log has it, and how long that takes. A process that gives up on a connection which the server was
 * about to answer makes it wait for one more.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { startEmbedded } from '../../dist/embedded/index.js'
import { migrate, startConsumer, stopAll } from '../measure/consumers.mjs'
import { addValue, processesName } from '../measure/figures.mjs'
import { withSession } from '../measure/session.mjs'
import { untilAsleep } from '../measure/sleepers.mjs'
import { nowMs } from '../processes.mjs'
import { settingsOf } from '../server.mjs'

export const cases = ['a restart of the server']

const queue = 'fleet'
const startMs = 300_000
/** Every connection, also those that never came to a session. */
const logging = {
  logging_collector: 'on',
  log_connections: 'on',
  log_filename: 'bench.log',
  log_line_prefix: '',
  log_rotation_size: 0,
}

/**
 * On a server of its own: it is restarted.
 *
 * @param {import('../scenarios.mjs').RunOptions} options
 * @returns {AsyncIterable<import('../scenarios.mjs').Result>}
 */
export async function* run({ tries, isSmoke, tell }) {
  const processes = isSmoke ? 3 : 64
  /** @type {import('../measure/figures.mjs').Figures} */
  const figures = {}
  const server = await startEmbedded({ durability: 'on', settings: { max_connections: 1_000, ...logging } })
  /** @type {import('../processes.mjs').Child[]} */
  let consumers = []
  try {
    const url = server.connectionString
    await migrate(url)
    const settings = await withSession(url, settingsOf)
    const started = Array.from({ length: processes }, (_, number) =>
      startConsumer({ url, queues: [queue], name: nameOf(number) }),
    )
    consumers = await Promise.all(started)
    await allAsleep(url, processes)
    for (let number = 0; number < tries; number += 1) {
      const linesBefore = logLines(server).length
      const downAt = nowMs()
      await server.restart('fast')
      const upAt = nowMs()
      await allAsleep(url, processes)
      const lines = logLines(server).slice(linesBefore)
      const received = lines.filter((line) => line.includes('connection received')).length
      const loggedIn = lines.filter((line) => line.includes('connection authorized')).length
      const perProcess = consumers.map(
        (_, index) => lines.filter((line) => line.includes(`application_name=${nameOf(index)}`)).length,
      )
      addValue(figures, 'all asleep again, since the server is up', 'ms', nowMs() - upAt)
      addValue(figures, 'the server was away', 'ms', upAt - downAt)
      addValue(figures, 'connections of a process, mean', 'connections', received / processes)
      addValue(figures, 'refused, of a process, mean', 'connections', (received - loggedIn) / processes)
      addValue(figures, 'logged in, of a process, most', 'connections', Math.max(...perProcess))
      tell(`fleet ${number + 1}: ${processesName(processes)}: ${(received / processes).toFixed(1)} connections each`)
    }
    yield {
      case: cases[0] ?? '',
      settings: { processes, restart: 'fast', bugle: 'defaults', server: settings },
      figures: { ...figures, allowed: { unit: 'connections', values: [4] } },
      ratios: [
        { name: 'connections of a process', of: 'connections of a process, mean', to: 'allowed', wanted: '<= 1' },
      ],
      notes: [
        'A process that sleeps has a listener and a control session, and each of its pools at most one connection.',
      ],
    }
    await stopAll(consumers)
  } finally {
    await Promise.all(consumers.map((child) => child.kill()))
    await server.stop()
  }
}

/** So that none ends as another does. @param {number} number */
const nameOf = (number) => `fleet-${String(number).padStart(3, '0')}`

/** @param {import('../../dist/embedded/index.js').EmbeddedPostgres} server */
function logLines({ dataDir }) {
  return readFileSync(join(dataDir, 'log', logging.log_filename), 'utf8').split('\n')
}

/** @param {string} url @param {number} processes */
function allAsleep(url, processes) {
  return withSession(url, (client) =>
    untilAsleep({ query: async (text, params = []) => (await client.query(text, [...params])).rows }, processes, {
      withinMs: startMs,
    }),
  )
}
