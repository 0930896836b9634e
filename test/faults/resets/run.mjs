import { startChild } from '../child.mjs'
import { runJournaled } from '../journaled.mjs'
import { openLedger } from '../ledger.mjs'
import { createRandom } from '../random.mjs'
import { untilTrue, within } from '../within.mjs'
import { startCaller } from './caller.mjs'
import { judge } from './judge.mjs'
import { queues } from './plan.mjs'
import { startResetProxy } from './proxy.mjs'

/** Of both queues together. */
const jobsInAll = 2_000
/** Of each process's connections, on average: few leave much work between them, many come in the middle of repairs. */
const resetsPerSecond = /** @type {const} */ ([1, 8])
/** After the last reset, until every job has ended. */
const drainMs = 60_000

/**
 * Connections are reset at random while jobs run, with and without prepared statements. What anybody was told as done
 * must be written, and what was told as not written must not.
 *
 * @param {import('../verdict.mjs').RunParts} parts
 */
export function runResets({ seed, seconds, snapshot, tell }) {
  return runJournaled({ snapshot, tell }, { max_connections: 300 }, async (own) => {
    const { createBugle, server, journal, path, log, violation, cleanups } = own
    const ledger = openLedger(server.connectionString)
    cleanups.push(() => ledger.end())
    /** @type {import('./proxy.mjs').ResetProxy[]} */
    const proxies = []
    /** @type {import('../child.mjs').Child[]} */
    const children = []

    /** @returns a way of its own for a process, so that what is reset side by side is the same process's */
    async function way() {
      const random = createRandom(seed * 10 + proxies.length)
      const proxy = await startResetProxy({ port: server.port, perSecond: random.between(...resetsPerSecond), random })
      proxies.push(proxy)
      cleanups.push(() => proxy.close())
      return `postgres://postgres@127.0.0.1:${proxy.port}/postgres`
    }

    const direct = createBugle({ connectionString: server.connectionString })
    await direct.migrate()
    await direct.close()
    let token = 0
    const callers = []
    for (const [queue, prepare] of Object.entries(queues)) {
      const args = { bugleUrl: snapshot.bugleUrl, connectionString: await way(), journal: path, queue, prepare }
      const file = new URL('./worker.mjs', import.meta.url)
      const child = startChild(file, args, { name: `worker ${queue}`, log, violation })
      children.push(child)
      cleanups.push(() => void child.kill())
      await within(30_000, child.next('consumes'), `the start of ${child.name}`)
      const logger = { info: log, warn: log, error: log }
      const bugle = createBugle({ connectionString: await way(), name: 'caller', prepare, logger })
      cleanups.push(() =>
        within(15_000, bugle.close(), 'the close of a caller').catch((error) => violation(error.message)),
      )
      const random = createRandom(seed * 10 + 5 + callers.length)
      const jobs = jobsInAll / 2
      callers.push(startCaller({ bugle, queue, jobs, seconds, nextToken: () => ++token, ledger, journal, random }))
    }
    for (const proxy of proxies) proxy.begin()
    await within((seconds + 120) * 1_000, Promise.all(callers.map((caller) => caller.run())), 'the last answers')
    for (const proxy of proxies) proxy.calm()
    log('no more resets')

    // A job that waits for its next try is scheduled for a moment; one that is parked, for much longer.
    const left = () =>
      ledger.ask(
        `select id::text as id, state from bugle.job
         where state in ('ready', 'running') or state = 'scheduled' and run_at < now() + interval '1 minute'`,
      )
    if (!(await untilTrue(drainMs, async () => (await left()).length === 0))) {
      violation(`not drained ${drainMs} ms after the last reset: ${JSON.stringify((await left()).slice(0, 5))}`)
    }
    for (const child of children) {
      child.mayEnd()
      child.send({})
    }
    await within(20_000, Promise.all(children.map(({ exited }) => exited)), 'the stop of the workers')

    const rows = await ledger.ask(
      `select id::text as id, (payload ->> 'token')::int as token, state from bugle.job
       union all
       select id::text, (payload ->> 'token')::int, 'archived' from bugle.archive`,
    )
    const account = judge(journal.read(), rows)
    for (const one of account.violations) violation(one)
    const { jobs, runs, told, unknown, nothing } = account.figures
    /** @type {Map<string, number>} */
    const resets = new Map()
    for (const { done } of proxies) for (const [kind, count] of done) resets.set(kind, (resets.get(kind) ?? 0) + count)
    return (
      `${jobs} jobs, ${runs} runs, ${told} outcomes told; of the callers' calls ${unknown} unknown and ` +
      `${nothing} with nothing written; resets: ${[...resets].map(([kind, count]) => `${count} ${kind}`).join(', ')}`
    )
  })
}
