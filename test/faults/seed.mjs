import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { judgeBursts } from './bursts/judge.mjs'
import { startMeddlers } from './bursts/meddlers.mjs'
import { startBursts } from './bursts/putter.mjs'
import { check } from './check.mjs'
import { planFaults, runFaults } from './faults.mjs'
import { openJournal } from './journal.mjs'
import { openLedger } from './ledger.mjs'
import { startProducers } from './producers.mjs'
import { createRandom } from './random.mjs'
import { openVerdict } from './verdict.mjs'
import { within } from './within.mjs'
import { createWorkers } from './workers.mjs'

/** Short, so that every kind of recovery happens within a run. */
const options = { rescueAfterMs: 2_000, hungAfterMs: 5_000, maxCrashes: 1_000 }
/** Bursts in peace, after the last fault: for what must not happen though nothing was done to anybody. */
const calmMs = 8_000
/** After that, until every job has ended. */
const drainMs = 60_000
/** The same for the rows of dead workers: one that was killed before it held its presence lock is given a minute. */
const burialMs = 75_000
/** Of the stop at the end. */
const times = { graceMs: 3_000, abortMs: 1_000 }

/**
 * One run: faults for so many seconds, then peace, and the account.
 *
 * @param {import('./verdict.mjs').RunParts} parts
 */
export async function runSeed({ seed, seconds, putsPerSecond, only, snapshot, tell }) {
  /** @type {typeof import('../../dist/index.js')} */
  const { createBugle } = await import(snapshot.bugleUrl)
  /** @type {typeof import('../../dist/embedded/index.js')} */
  const { startEmbedded } = await import(snapshot.embeddedUrl)
  /** @type {typeof import('../support/proxy.js')} */
  const { startProxy } = await import(snapshot.proxyUrl)

  const { violations, log, violation } = openVerdict(tell)

  const server = await startEmbedded({ settings: { max_connections: 300 } })
  const proxies = await Promise.all(
    // The second worker, the third one; the fourth one's queries, and its sessions; the producer's.
    [[1], [2], [3], [3], []].map(async (workers) => ({
      workers,
      proxy: await startProxy({ host: '127.0.0.1', port: server.port }),
    })),
  )
  const through = proxies.map(({ proxy }) => `postgres://postgres@127.0.0.1:${proxy.port}/postgres`)
  const direct = server.connectionString
  const directory = mkdtempSync(join(tmpdir(), 'bugle-journal-'))
  const journal = openJournal(join(directory, 'journal'), 'harness')
  const ledger = openLedger(direct)
  const bugle = createBugle({
    connectionString: through[4] ?? direct,
    name: 'producer',
    logger: { info: log, warn: log, error: log },
  })
  /** @type {import('./workers.mjs').Workers | null} */
  let workers = null
  try {
    await bugle.migrate()
    await ledger.create()
    workers = createWorkers({
      snapshot,
      ways: [
        { connectionString: direct },
        { connectionString: through[0] ?? '' },
        { connectionString: through[1] ?? '' },
        { connectionString: through[2] ?? '', listenConnectionString: through[3] ?? '' },
      ],
      options,
      journal: join(directory, 'journal'),
      random: createRandom(seed * 3 + 2),
      log,
      violation,
    })
    await within(20_000, workers.started, 'the start of the workers')
    const producers = startProducers({
      bugle,
      connectionString: direct,
      putsPerSecond,
      random: createRandom(seed * 3),
      log,
      violation,
    })
    const bursts = startBursts({ connectionString: direct, random: createRandom(seed * 3 + 3), violation })
    const meddlers = startMeddlers({
      sessions: Array.from({ length: 6 }, () => openLedger(direct)),
      random: createRandom(seed * 3 + 4),
    })
    const plan = { seconds, workers: 4, proxies: proxies.length, hungAfterMs: options.hungAfterMs, only }
    const faults = planFaults(plan, createRandom(seed * 3 + 1))
    const { restarts, done } = await runFaults(faults, { workers, proxies, server, ledger, log })

    await within(60_000, meddlers.end(), 'the end of the meddlers')
    const healedAt = performance.now()
    log('all is healed')
    await within(30_000, workers.quiet(), 'the start of the last workers')
    await within(70_000, producers.end(), 'the answers of the last puts')
    await sleep(calmMs)
    await within(20_000, bursts.end(), 'the answer of the last burst')
    log('all puts are answered')
    const left = await empty(drainMs, ledger, jobsLeft, log)
    if (left !== null) violation(`not drained ${drainMs} ms after the last fault: ${left}`)
    const drainedMs = performance.now() - healedAt
    log(`drained after ${Math.round(drainedMs)} ms`)
    const unburied = await empty(burialMs, ledger, deadWorkers, log)
    if (unburied !== null) violation(`not buried ${burialMs} ms after that: ${unburied}`)
    await within(drainMs, workers.stopAll(times), 'the stop of the workers')
    const leftover = await empty(5_000, ledger, leftBehind, log)
    if (leftover !== null) violation(`left behind: ${leftover}`)

    const steps = await ledger.steps()
    const known = { workers: await ledger.workers(), lives: workers.lives, restarts }
    const account = check({
      ...known,
      puts: producers.puts,
      steps: steps.filter(({ token }) => token > 0),
      runs: await ledger.runs(),
      ends: workers.ends,
    })
    const ofBursts = judgeBursts({
      ...known,
      puts: bursts.puts,
      steps: steps.filter(({ token }) => token < 0),
      entries: journal.read(),
      meddled: meddlers.harms,
    })
    for (const one of [...account.violations, ...ofBursts.violations]) violation(one)
    if (ofBursts.figures.onLanes === 0) violation('no job went over an express lane')
    for (const story of account.lastStories) log(`ended last: ${story}`)
    const stops = workers.lives.flatMap(({ stop }) => (stop === null ? [] : [stop]))
    const told = { ...account.figures, done, stops, drainedMs, events: workers.events }
    return { violations, summary: `${summary(told)}; ${burstsSummary(ofBursts.figures, meddlers.done)}` }
  } catch (error) {
    violation(`the run itself has failed: ${error instanceof Error ? error.stack : error}`)
    return { violations, summary: 'not finished' }
  } finally {
    workers?.killAll()
    // Each may hang on what has gone wrong; the server's end frees them.
    await within(10_000, bugle.close(), 'the close of the producer').catch((error) => violation(error.message))
    await ledger.end()
    journal.close()
    rmSync(directory, { recursive: true, force: true })
    await Promise.all(proxies.map(({ proxy }) => proxy.close()))
    await server.stop()
  }
}

/** Each row is something that is left. */
const jobsLeft = `
  select state as what, count(*)::int as count, min(id)::text as first
  from bugle.job
  where state <> 'failed'
  group by state`
const deadWorkers = `
  select
    'more than four workers' as what,
    string_agg(format('%s (%s ms)', name, rescue_after_ms), ', ' order by name) as names
  from bugle.worker
  having count(*) > 4`
const leftBehind = `
  select 'worker ' || name as what from bugle.worker
  union all
  select 'advisory lock ' || classid || ' ' || objid || ' of backend ' || pid from pg_locks where locktype = 'advisory'
  union all
  select 'connection ' || application_name from pg_stat_activity where application_name ~ '^w[0-9]'`

/**
 * Wait until a query finds nothing.
 *
 * @param {number} mostMs
 * @param {import('./ledger.mjs').Ledger} ledger
 * @param {string} query
 * @param {(text: string) => void} log told every second
 * @returns what is still there in the end; null: nothing
 */
async function empty(mostMs, ledger, query, log) {
  const startedAt = performance.now()
  for (let look = 0; ; look += 1) {
    const rows = await ledger.ask(query)
    if (rows.length === 0) return null
    if (performance.now() - startedAt > mostMs) return JSON.stringify(rows)
    if (look % 10 === 0) log(`left: ${JSON.stringify(rows)}`)
    await sleep(100)
  }
}

/**
 * @param {ReturnType<typeof judgeBursts>['figures']} figures
 * @param {ReadonlyMap<string, number>} meddled
 */
function burstsSummary({ jobs, onLanes, batches, alone, kept, again }, meddled) {
  const others = [...meddled].map(([what, count]) => `${count} ${what}`).join(', ')
  return (
    `bursts: ${jobs} jobs, ${onLanes} of them acked on express lanes in ${batches} batches, ${alone} alone, ` +
    `${kept} kept, ${again} run again; ${others}`
  )
}

/** @param {readonly number[]} values */
function medianAndWorst(values) {
  const sorted = values.toSorted((one, other) => one - other)
  const median = sorted[Math.floor(sorted.length / 2)]
  return median === undefined ? '-' : `${Math.round(median)} / ${Math.round(sorted.at(-1) ?? 0)} ms`
}

/**
 * @param {ReturnType<typeof check>['figures'] & {
 *   done: ReadonlyMap<string, number>,
 *   stops: readonly { reports: readonly import('../../dist/index.js').StopReport[], ms: number }[],
 *   drainedMs: number,
 *   events: ReadonlyMap<string, number>,
 * }} figures
 */
function summary({
  fates,
  unknownThere,
  claims,
  runs,
  rescued,
  givenBack,
  heldTooLong,
  lostConnections,
  mistold,
  rescueMs,
  ...rest
}) {
  const { done, stops, drainedMs, events } = rest
  /** @param {ReadonlyMap<string, number>} counts */
  const list = (counts) => [...counts].map(([name, count]) => `${count} ${name}`).join(', ')
  const faults = [...done.values()].reduce((sum, count) => sum + count, 0)
  const abandoned = stops.flatMap(({ reports }) => reports).flatMap((report) => report.abandoned).length
  return [
    `${fates.committed ?? 0} jobs committed, ${fates['rolled-back'] ?? 0} rolled back, ` +
      `${fates.refused ?? 0} refused, ${fates.unknown ?? 0} unknown (${unknownThere} there)`,
    `${faults} faults (${list(done)})`,
    `${claims} claims, ${runs} runs, ${rescued} rescued, ${givenBack} given back, ` +
      `${heldTooLong} of them held for too long, ${lostConnections} lost their connection, ${mistold} told twice`,
    `SIGKILL to last rescue ${medianAndWorst(rescueMs)} (${rescueMs.length})`,
    `drained ${(drainedMs / 1_000).toFixed(1)} s after the last fault`,
    `${stops.length} stops ${medianAndWorst(stops.map(({ ms }) => ms))}, ${abandoned} abandoned`,
    `events: ${list(events)}`,
  ].join('; ')
}
