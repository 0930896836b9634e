/**
 * Many processes with spare slots on one queue, at 1,000 single inserts a second; and one process at the same rate.
 *
 * Each insert finds somebody idle. What must not happen is that all of them wake for it: what a herd costs is claims
 * that find nothing, notifications (each takes a lock around its commit), and latency.
 */
import { migrate, runsOf, startConsumers } from '../measure/consumers.mjs'
import { addValue, processesName } from '../measure/figures.mjs'
import { countNotifications } from '../measure/notifications.mjs'
import { untilDone } from '../measure/once.mjs'
import { putAtPace, startProducer } from '../measure/producers.mjs'
import { untilAsleep } from '../measure/sleepers.mjs'
import { between, claimsOf, startCountingServer, statementCounts } from '../measure/statements.mjs'
import { quantiles } from '../statistics.mjs'
import { endFleet } from './end.mjs'

export const tries = 3
export const cases = ['1,000 inserts a second']

const queue = 'fleet'
/** Enough for one process alone to have some to spare at this rate. */
const slots = 24

/**
 * @param {import('../scenarios.mjs').RunOptions} options
 * @returns {AsyncIterable<import('../scenarios.mjs').Result>}
 */
export async function* run({ tries: wanted, isSmoke, seconds = isSmoke ? 1 : 10, tell }) {
  const perSecond = isSmoke ? 200 : 1_000
  const fleet = isSmoke ? 3 : 16
  /** @type {import('../measure/figures.mjs').Figures} */
  const figures = {}
  const server = await startCountingServer()
  try {
    for (let number = 0; number < wanted; number += 1) {
      for (const processes of number % 2 === 0 ? [1, fleet] : [fleet, 1]) {
        const measured = await runOnce(server, { processes, perSecond, seconds })
        for (const [name, [unit, value]] of Object.entries(measured)) {
          addValue(figures, `${processesName(processes)}: ${name}`, unit, value)
        }
        tell(`fleet ${number + 1}: ${processesName(processes)}: p99 ${measured['put to start, p99'][1].toFixed(1)} ms`)
      }
    }
    figures.allowed = { unit: 'claims/job', values: [1] }
    yield {
      case: cases[0] ?? '',
      settings: {
        processes: [1, fleet],
        putsPerSecond: perSecond,
        seconds,
        arrivals: 'evenly spaced, from one process by put(), open loop',
        handler: 'no-op',
        bugle: `defaults, ${slots} slots a process`,
        server: server.settings,
      },
      figures,
      ratios: [
        {
          name: `empty claims per job, ${processesName(fleet)}`,
          of: `${processesName(fleet)}: empty claims per job`,
          to: 'allowed',
          wanted: '< 1',
        },
        {
          name: `p99, ${processesName(fleet)} to 1`,
          of: `${processesName(fleet)}: put to start, p99`,
          to: '1 process: put to start, p99',
          wanted: '<= 5',
        },
      ],
      notes: [
        'An empty claim is one that brought no job: all that were sent, less those that a trigger saw take rows.',
      ],
    }
  } finally {
    await server.stop()
  }
}

/**
 * @param {import('../server.mjs').Server} server
 * @param {{ processes: number, perSecond: number, seconds: number }} what
 */
async function runOnce(server, { processes, perSecond, seconds }) {
  const database = await server.freshDatabase('fleet')
  await migrate(database.url)
  const fullClaims = await countFullClaims(database)
  const consumers = await startConsumers(processes, { url: database.url, queues: [queue], concurrency: slots })
  const producer = startProducer(database.url, queue)
  await untilAsleep(database, processes)
  // A second of the same beforehand: connections, code that is compiled, processes that know each other's pace.
  const warmUp = await putAtPace(producer, { perSecond, seconds: 1 })
  await untilDone(database, { consumers, expected: warmUp.put })
  const notified = await countNotifications(database)
  const fullBefore = await fullClaims()
  const countsBefore = await statementCounts(server, database)
  const warmUpRuns = (await Promise.all(consumers.map(runsOf))).map(({ ids }) => ids.length)

  const { put, behindMs } = await putAtPace(producer, { perSecond, seconds })
  const puts = quantiles((await producer.ask('putsMs')).subarray(warmUp.put))
  await untilDone(database, { consumers, expected: warmUp.put + put })

  const claims = claimsOf(between(countsBefore, await statementCounts(server, database))).calls
  const notifications = await notified()
  const full = (await fullClaims()) - fullBefore
  const waits = await endFleet(database, { consumers, producer, expected: warmUp.put + put, warmUpRuns })

  return /** @type {const} */ ({
    'put to start, p50': ['ms', waits.p50],
    'put to start, p99': ['ms', waits.p99],
    'put to start, max': ['ms', waits.max],
    // A part of the former: nothing can start before it is committed.
    'put, p50': ['ms', puts.p50],
    'put, p99': ['ms', puts.p99],
    'producer behind, at most': ['ms', behindMs],
    'claims per job': ['claims/job', claims / put],
    'empty claims per job': ['claims/job', (claims - full) / put],
    'notified inserts': ['per job', notifications / put],
  })
}

/**
 * Each statement that claims at least one job is counted by a sequence. That is exact, the same for one process and for
 * many, and takes some 15 us of a claim's 200 in the server.
 *
 * @param {import('../server.mjs').Database} database
 * @returns {Promise<() => Promise<number>>}
 */
async function countFullClaims(database) {
  await database.query('create sequence full_claims minvalue 0 start 0')
  await database.query(`
    create function count_claim() returns trigger language plpgsql as $$
    begin
      if exists (select from claimed where state = 'running') then
        perform pg_catalog.nextval('public.full_claims');
      end if;
      return null;
    end
    $$
  `)
  await database.query(`
    create trigger count_claim after update on bugle.job
    referencing new table as claimed
    for each statement execute function count_claim()
  `)
  return async () => {
    const [{ last }] = await database.query('select last_value::int as last from full_claims')
    return last
  }
}
