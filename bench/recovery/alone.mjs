import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { startEmbedded } from '../../dist/embedded/index.js'
import { createBugle } from '../../dist/index.js'
import { settingsOf } from '../server.mjs'
import { now, startWorker } from './alone-process.mjs'

/**
 * How long until everything runs again, with default options, each worker in a process of its own.
 *
 * - `worker-killed`: SIGKILL of a worker with 20 running jobs, until all 20 have started in another one
 * - `listener-killed`: until a job put right after that starts; and until a job starts by push again
 * - `listener-half-open`: the listener's backend is stopped (SIGSTOP), so its socket stays open and silent: until a job
 *   put in that moment starts; until it is noticed; until notifications arrive again
 * - `server-restarted`: with 1,000 jobs queued, by turns fast and immediate: until all of them are done; and how long
 *   the server itself was away
 */
export const tries = 20
export const cases = ['worker-killed', 'listener-killed', 'listener-half-open', 'server-restarted']
// The half-open one takes the time that it takes to notice.
export const smokeCases = ['worker-killed', 'listener-killed', 'server-restarted']

/** What they say of themselves about a process that was killed. */
const documented = [
  'after a killed process, as documented: Graphile Worker 4 hours, pg-boss its heartbeat plus a minute, BullMQ 30 s',
]

/**
 * @typedef {object} Bench
 * @property {import('../../dist/embedded/index.js').EmbeddedPostgres} server
 * @property {import('../../dist/index.js').Bugle} bugle
 * @property {pg.Client} admin
 * @property {number} tries
 * @property {boolean} isSmoke nothing is waited for that only spreads the tries over the beats of heartbeats and pings
 * @property {(text: string) => void} tell
 */

/**
 * On servers of its own: it kills and restarts them.
 *
 * @param {import('../scenarios.mjs').RunOptions} options
 * @returns {AsyncIterable<import('../scenarios.mjs').Result>}
 */
export async function* run({ tries: wanted, cases: chosen, isSmoke, tell }) {
  for (const name of chosen) {
    const server = await startEmbedded({ durability: 'on' })
    const bugle = createBugle({ connectionString: server.connectionString, name: 'bench' })
    const admin = new pg.Client({ connectionString: server.connectionString, application_name: 'bench' })
    admin.on('error', () => {})
    try {
      await admin.connect()
      await bugle.migrate()
      const settings = { bugle: 'defaults', server: await settingsOf(admin) }
      const ms = await runCase(name, { server, bugle, admin, tries: wanted, isSmoke, tell })
      yield {
        case: name,
        settings,
        figures: Object.fromEntries(Object.entries(ms).map(([figure, values]) => [figure, { unit: 'ms', values }])),
        ...(name === 'worker-killed' && { notes: documented }),
      }
    } finally {
      await bugle.close()
      await admin.end().catch(() => {})
      await server.stop()
    }
  }
}

/**
 * @param {string} name
 * @param {Bench} bench
 * @returns {Promise<Record<string, number[]>>}
 */
function runCase(name, bench) {
  switch (name) {
    case 'worker-killed':
      return workerKilled(bench)
    case 'listener-killed':
      return listenerKilled(bench)
    case 'listener-half-open':
      return listenerHalfOpen(bench)
    default:
      return serverRestarted(bench)
  }
}

/** @param {Bench} bench */
async function workerKilled({ server, bugle, tries, isSmoke, tell }) {
  const jobs = 20
  /** @type {number[]} */
  const allStartedMs = []
  /** @type {number[]} */
  const firstStartedMs = []
  const survivor = startWorker(server.connectionString, 'survivor')
  // Long alive, as processes are.
  await survivor.consume('other', { concurrency: 1, holds: false })
  await sleep(isSmoke ? 0 : 16_000)
  for (let number = 1; number <= tries; number += 1) {
    const queue = `try ${number}`
    const victim = startWorker(server.connectionString, `victim-${number}`)
    await victim.consume(queue, { concurrency: jobs, holds: true })
    await bugle.putMany(
      queue,
      Array.from({ length: jobs }, (_, job) => job),
    )
    await victim.told({ did: 'start', queue }, jobs)
    await survivor.consume(queue, { concurrency: jobs, holds: false })
    // At any moment of its heartbeat and of the other's looks.
    await sleep(isSmoke ? 0 : 2_000 + Math.random() * 2_000)
    const killedAt = now()
    victim.kill()
    const starts = await survivor.told({ did: 'start', queue }, jobs)
    allStartedMs.push(Math.max(...starts) - killedAt)
    firstStartedMs.push(Math.min(...starts) - killedAt)
    tell(`worker-killed ${number}: ${Math.round(allStartedMs.at(-1) ?? 0)} ms`)
    await survivor.stop(queue)
  }
  survivor.kill()
  return { allStartedMs, firstStartedMs }
}

/**
 * Workers asleep, each on its own queue, tried at the same time: they do nothing but wait.
 *
 * @param {Bench} bench
 * @param {(worker: ReturnType<typeof startWorker>, queue: string) => Promise<void>} tryOnce
 */
async function withSleepers({ server, tries, isSmoke }, tryOnce) {
  let left = tries
  const workers = [1, 2, 3, 4, 5]
    .slice(0, tries)
    .map((number) => startWorker(server.connectionString, `sleeper-${number}`))
  await Promise.all(
    workers.map(async (worker) => {
      const queue = `queue of ${worker.name}`
      await worker.consume(queue, { concurrency: 10, holds: false })
      await worker.told({ did: 'health', to: 'live' })
      while (left > 0) {
        left -= 1
        // At any moment of its pings.
        await sleep(isSmoke ? 0 : 500 + Math.random() * 12_000)
        await tryOnce(worker, queue)
      }
    }),
  )
  for (const worker of workers) worker.kill()
}

/**
 * @param {Bench} bench
 * @param {ReturnType<typeof startWorker>} worker
 * @returns {Promise<number>} the backend's pid
 */
async function listenerOf({ admin }, worker) {
  const { rows } = await admin.query('select pid from pg_stat_activity where application_name = $1', [
    `${worker.name} listener`,
  ])
  if (rows.length !== 1) throw new Error(`${worker.name} has ${rows.length} listeners`)
  return rows[0].pid
}

/**
 * Put one job, and wait for its start.
 *
 * @param {Bench} bench
 * @param {ReturnType<typeof startWorker>} worker
 * @param {string} queue
 */
async function putToStart({ bugle }, worker, queue) {
  const since = worker.mark()
  const putAt = now()
  await bugle.put(queue, null)
  const [startedAt = 0] = await worker.told({ did: 'start', queue }, 1, since)
  return startedAt - putAt
}

/** @param {Bench} bench */
async function listenerKilled(bench) {
  /** @type {number[]} */
  const gapJobStartedMs = []
  /** @type {number[]} */
  const liveAgainMs = []
  /** @type {number[]} */
  const nextPushMs = []
  await withSleepers(bench, async (worker, queue) => {
    const pid = await listenerOf(bench, worker)
    const since = worker.mark()
    const killedAt = now()
    await bench.admin.query('select pg_terminate_backend($1)', [pid])
    gapJobStartedMs.push(await putToStart(bench, worker, queue))
    const [liveAt = 0] = await worker.told({ did: 'health', to: 'live' }, 1, since)
    liveAgainMs.push(liveAt - killedAt)
    nextPushMs.push(await putToStart(bench, worker, queue))
  })
  return { gapJobStartedMs, liveAgainMs, nextPushMs }
}

/** @param {Bench} bench */
async function listenerHalfOpen(bench) {
  /** @type {number[]} */
  const jobStartedMs = []
  /** @type {number[]} */
  const noticedMs = []
  /** @type {number[]} */
  const liveAgainMs = []
  /** @type {number[]} */
  const nextPushMs = []
  await withSleepers(bench, async (worker, queue) => {
    const pid = await listenerOf(bench, worker)
    const since = worker.mark()
    const frozenAt = now()
    process.kill(pid, 'SIGSTOP')
    const job = putToStart(bench, worker, queue)
    const [noticedAt = 0] = await worker.told({ did: 'health', to: 'polling' }, 1, since)
    noticedMs.push(noticedAt - frozenAt)
    jobStartedMs.push(await job)
    const [liveAt = 0] = await worker.told({ did: 'health', to: 'live' }, 1, since)
    liveAgainMs.push(liveAt - frozenAt)
    nextPushMs.push(await putToStart(bench, worker, queue))
    bench.tell(`listener-half-open: noticed after ${Math.round(noticedAt - frozenAt)} ms`)
    // It ends when it wakes; the server must not wait for it.
    process.kill(pid, 'SIGCONT')
    await bench.admin.query('select pg_terminate_backend($1)', [pid])
  })
  return { jobStartedMs, noticedMs, liveAgainMs, nextPushMs }
}

/** @param {Bench} bench */
async function serverRestarted({ server, bugle, tries, tell }) {
  const jobs = 1_000
  /** @type {Record<string, number[]>} */
  const ms = { allDoneFastMs: [], allDoneImmediateMs: [], serverAwayMs: [] }
  const worker = startWorker(server.connectionString, 'worker')
  for (let number = 1; number <= tries; number += 1) {
    const queue = `try ${number}`
    await worker.consume(queue, { concurrency: 10, holds: true })
    await bugle.putMany(
      queue,
      Array.from({ length: jobs }, (_, job) => job),
    )
    await worker.told({ did: 'start', queue }, 10)
    const mode = number % 2 === 1 ? 'fast' : 'immediate'
    const since = worker.mark()
    const downAt = now()
    const restarting = server.restart(mode)
    worker.letGo(queue)
    await restarting
    ms.serverAwayMs?.push(now() - downAt)
    const acks = await worker.told({ did: 'ack', queue }, jobs, since)
    const doneMs = Math.max(...acks) - downAt
    ms[mode === 'fast' ? 'allDoneFastMs' : 'allDoneImmediateMs']?.push(doneMs)
    tell(`server-restarted ${number}: ${mode}, ${Math.round(doneMs)} ms`)
    await worker.stop(queue)
    // As after any start: the back-off of one outage must not be the next one's.
    await sleep(1_000)
  }
  worker.kill()
  return ms
}
