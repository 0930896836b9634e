/**
 * Single-row inserts a second, by 1, 8 and 32 clients: into our table, into the same one with other triggers, and into
 * a bare one (tables.mjs); with consumers absent, busy or asleep (surroundings.mjs); and with 0 to 16 processes that
 * have spare slots, and how many of the inserts notify then. All of it again with 1 ms for a flush of the WAL, as on a
 * disk that is slower than this one.
 *
 * What is measured is what a queue costs those who write to it. A notification takes a lock from before the commit to
 * after it, so that commits which notify cannot share a flush.
 */
import { migrate, runsOf, startConsumers, stopAll } from '../measure/consumers.mjs'
import { addValue, processesName } from '../measure/figures.mjs'
import { countNotifications } from '../measure/notifications.mjs'
import { demandOnce, untilDone } from '../measure/once.mjs'
import { untilAsleep } from '../measure/sleepers.mjs'
import { surround } from './surroundings.mjs'
import { createTables, emptyTable, readyJobs, variants } from './tables.mjs'
import { createWriters } from './writers.mjs'

export const tries = 4
const flushes = /** @type {const} */ ({
  '': { commit_delay: 0, commit_siblings: 5 },
  // Without siblings every commit waits so long before it flushes, and takes along who comes meanwhile.
  ', a flush of 1 ms': { commit_delay: 1_000, commit_siblings: 0 },
})
const kinds = /** @type {const} */ (['absent', 'busy', 'asleep', 'processes'])
/** @typedef {keyof typeof flushes} Flush */
/** @typedef {(typeof kinds)[number]} Kind */
export const cases = kinds.flatMap((kind) => Object.keys(flushes).map((flush) => `${kind}${flush}`))
export const smokeCases = ['absent', 'processes']

const queue = 'insert'
const handlerMs = 5
/**
 * So many that one process alone could run more than is inserted, 40,000 a second: all of them have spare slots all
 * along.
 */
const slots = 200

/**
 * @typedef {object} Bench
 * @property {import('../server.mjs').Server} server
 * @property {import('../server.mjs').Database} database
 * @property {ReturnType<typeof createWriters>} writers
 * @property {readonly Flush[]} chosenFlushes
 * @property {number} seconds
 * @property {boolean} isSmoke
 * @property {(flush: Flush, name: string, unit: string, value: number) => void} add
 */

/**
 * @param {import('../scenarios.mjs').RunOptions} options
 * @returns {AsyncIterable<import('../scenarios.mjs').Result>}
 */
export async function* run({ tries: wanted, cases: chosen, isSmoke, seconds = 1, tell, server: serverOf }) {
  const server = await serverOf()
  const writers = createWriters()
  try {
    for (const kind of kinds) {
      const chosenFlushes = flushNames().filter((flush) => chosen.includes(`${kind}${flush}`))
      if (chosenFlushes.length === 0) continue
      const all = new Map(
        chosenFlushes.map(
          (flush) => /** @type {const} */ ([flush, /** @type {import('../measure/figures.mjs').Figures} */ ({})]),
        ),
      )
      /** @type {Bench['add']} */
      const add = (flush, name, unit, value) => {
        const figures = all.get(flush)
        if (figures) addValue(figures, name, unit, value)
      }
      const database = await server.freshDatabase('insert')
      const bench = { server, database, writers, chosenFlushes, seconds, isSmoke, add }
      await createTables(database)
      for (let number = 0; number < wanted; number += 1) {
        if (kind === 'processes') await tryProcesses(bench, number)
        else await tryVariants(bench, number, kind)
        tell(`insert: ${kind}, ${number + 1} of ${wanted}`)
      }
      await database.drop()
      for (const [flush, figures] of all) {
        yield {
          case: `${kind}${flush}`,
          settings: {
            seconds,
            secondsBefore: writers.secondsBefore,
            writers: writers.name,
            server: { ...server.settings, ...flushes[flush] },
            ...(kind === 'processes' && {
              handlerMs,
              clients: clientCounts(isSmoke).at(-1),
              bugle: `defaults, ${slots} slots a process`,
            }),
          },
          figures,
          ratios: kind === 'processes' ? ratiosOfProcesses() : ratiosOfVariants(kind, flush),
        }
      }
    }
  } finally {
    await server.alter({ commit_delay: null, commit_siblings: null })
  }
}

/**
 * @param {Bench} bench
 * @param {number} number
 * @param {import('./surroundings.mjs').Surrounding} kind
 */
async function tryVariants({ server, database, writers, chosenFlushes, seconds, isSmoke, add }, number, kind) {
  // The cost of no trigger is in between where it matters, and the same everywhere.
  const measured = kind === 'absent' ? variants : variants.filter((variant) => variant !== 'none')
  for (let turn = 0; turn < measured.length; turn += 1) {
    const variant = measured[(number + turn) % measured.length] ?? 'ours'
    const surrounding = await surround(kind, { database, schema: variant, queue })
    for (const flush of chosenFlushes) {
      await server.alter(flushes[flush])
      for (const clients of clientCounts(isSmoke)) {
        await emptyTable(database, variant)
        const { inserted, perSecond } = await writers.write({
          url: database.url,
          schema: variant,
          queue,
          clients,
          seconds,
        })
        const there = await readyJobs(database, variant)
        if (there !== inserted) throw new Error(`${inserted} rows were inserted into ${variant}; there are ${there}`)
        add(flush, `${variant}, ${clients} clients`, 'rows/s', perSecond)
      }
    }
    await surrounding.end()
    await emptyTable(database, variant)
  }
}

/** @param {Bench} bench @param {number} number */
async function tryProcesses({ server, database, writers, chosenFlushes, seconds, isSmoke, add }, number) {
  const counts = processCounts(isSmoke)
  const clients = clientCounts(isSmoke).at(-1) ?? 1
  for (let turn = 0; turn < counts.length; turn += 1) {
    const processes = counts[(number + turn) % counts.length] ?? 0
    // A schema of its own for each turn: ids are compared.
    const schema = `turn_${number}_${turn}`
    await migrate(database.url, schema)
    const consumers = await startConsumers(processes, {
      url: database.url,
      schema,
      queues: [queue],
      concurrency: slots,
      handlerMs,
    })
    const notified = await countNotifications(database, schema)
    let inserted = 0
    for (const flush of chosenFlushes) {
      await server.alter(flushes[flush])
      await database.query('checkpoint')
      await untilAsleep(database, processes, { schema })
      const written = await writers.write({ url: database.url, schema, queue, clients, seconds })
      inserted += written.inserted
      add(flush, processesName(processes), 'rows/s', written.perSecond)
      if (processes > 0) await untilDone(database, { schema, consumers, expected: inserted, withinMs: 120_000 })
      add(flush, `notified, ${processesName(processes)}`, 'per row', (await notified()) / written.inserted)
    }
    if (processes > 0)
      await demandOnce(database, { schema, expected: inserted, runs: await Promise.all(consumers.map(runsOf)) })
    await stopAll(consumers)
    await database.query(`drop schema ${schema} cascade`)
  }
}

function flushNames() {
  return /** @type {Flush[]} */ (Object.keys(flushes))
}

/** @param {boolean} isSmoke */
function clientCounts(isSmoke) {
  return isSmoke ? [8] : [1, 8, 32]
}

/** @param {boolean} isSmoke */
function processCounts(isSmoke) {
  return isSmoke ? [0, 2] : [0, 1, 2, 8, 16]
}

/**
 * @param {Kind} kind
 * @param {Flush} flush
 * @returns {import('../scenarios.mjs').Ratio[]}
 */
function ratiosOfVariants(kind, flush) {
  const isSlow = flush !== ''
  return [1, 8, 32].flatMap((clients) => {
    const hasTarget = kind !== 'asleep' && clients > 1
    const toBare = {
      name: `ours to bare, ${clients} clients`,
      of: `ours, ${clients} clients`,
      to: `bare, ${clients} clients`,
    }
    // What the trigger costs, and the table does not.
    const toNone = { ...toBare, name: `ours to no trigger, ${clients} clients`, to: `none, ${clients} clients` }
    const toAlways = { ...toBare, name: `ours to always, ${clients} clients`, to: `always, ${clients} clients` }
    return [
      { ...toBare, ...(hasTarget && { wanted: '>= 0.8' }) },
      ...(kind === 'absent' ? [toNone] : []),
      {
        ...toAlways,
        ...(hasTarget && !isSlow && { wanted: '>= 2' }),
        ...(hasTarget && isSlow && clients === 32 && { wanted: '>= 8' }),
      },
    ]
  })
}

/** @returns {import('../scenarios.mjs').Ratio[]} */
function ratiosOfProcesses() {
  return [1, 2, 8, 16].map((processes) => ({
    name: `${processesName(processes)} to none`,
    of: processesName(processes),
    to: processesName(0),
    wanted: '>= 0.5',
  }))
}
