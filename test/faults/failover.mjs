import { fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  comeBack,
  killServer,
  promote,
  replicate,
  startPrimary,
  startStandby,
  waitFor,
  withClient,
} from './cluster.mjs'
import { createFailoverLedger } from './failover-ledger.mjs'
import { openVerdict } from './verdict.mjs'

/** Until every session of every process is where it must be. Far above what it takes. */
const dustMs = 40_000
/** Until a job that was put after that has run. */
const runMs = 10_000
const putsEveryMs = 20

/**
 * @typedef {import('./cluster.mjs').Server} Server
 * @typedef {import('../support/proxy.js').Proxy} Proxy
 * @typedef {{ server: Server, proxy: Proxy }} Place a host of the list
 */

/**
 * The failover run. A fleet reaches a primary by an address that moves, or by a list of two hosts. In each round the
 * primary is killed, its standby promoted, and the former primary comes back and takes writes, while all sessions of
 * the fleet are cut. Rounds are asynchronous and synchronous in turn; the dead host refuses, or falls silent, in turn.
 *
 * @param {Pick<import('./verdict.mjs').RunParts, 'rounds' | 'snapshot' | 'tell'>} parts
 */
export async function runFailovers({ rounds, snapshot, tell }) {
  /** @type {typeof import('../../dist/index.js')} */
  const { createBugle } = await import(snapshot.bugleUrl)
  /** @type {typeof import('../../dist/embedded/index.js')} */
  const { startEmbedded } = await import(snapshot.embeddedUrl)
  /** @type {typeof import('../support/proxy.js')} */
  const { startProxy } = await import(snapshot.proxyUrl)

  const { violations, log, violation } = openVerdict(tell)
  const ledger = createFailoverLedger()
  const figures = { firstRunMs: /** @type {number[]} */ ([]), dustMs: /** @type {number[]} */ ([]) }
  /** @type {(() => Promise<unknown>)[]} */
  const cleanups = []

  try {
    const first = await startPrimary(startEmbedded)
    cleanups.push(() => first.stop())
    let primary = await place(first)
    const address = await startProxy(target(first))
    cleanups.push(() => address.close())
    const second = await startStandby(startEmbedded, first)
    cleanups.push(() => second.stop())
    let standby = await place(second)

    const byAddress = url([address])
    const byList = url([primary.proxy, standby.proxy])
    const producers = [byAddress, byList].map((connectionString, index) =>
      createBugle({ connectionString, name: `producer${index + 1}` }),
    )
    cleanups.push(() => Promise.all(producers.map((producer) => producer.close())))
    await producers[0]?.migrate()
    const fleet = [byAddress, byAddress, byList, byList].map((connectionString, index) =>
      startWorker(`worker${index + 1}`, connectionString),
    )
    cleanups.push(async () => {
      for (const worker of fleet) worker.kill()
    })
    await waitFor(dustMs, 'the start of the fleet', async () => fleet.every(({ consumes }) => consumes()))
    const stopPutting = startPutting(producers)
    cleanups.push(stopPutting)
    const names = [...fleet.map(({ name }) => name), 'producer1', 'producer2']

    for (let round = 1; round <= rounds; round += 1) {
      const isSynchronous = round % 2 === 0
      const isSilent = round % 4 === 1 || round % 4 === 2
      log(`ROUND ${round}: ${isSynchronous ? 'synchronous' : 'asynchronous'}; ${isSilent ? 'silent' : 'refusing'}`)
      await replicate(primary.server, isSynchronous)
      await sleep(1_000 + 500 * Math.random())

      if (isSilent) for (const proxy of [primary.proxy, address]) proxy.freeze()
      const killedAt = Date.now()
      await killServer(primary.server)
      if (!isSilent) for (const proxy of [primary.proxy, address]) await proxy.refuse()
      log('killed')
      await sleep(500 * Math.random())
      await promote(standby.server)
      const promotedAt = Date.now()
      ledger.rounds.push({ isSynchronous, killedAt, promotedAt })
      address.moveTo(target(standby.server))
      await address.heal()
      log('promoted')
      await waitFor(dustMs, 'a first run', async () => ledger.runs.some(({ at }) => at > promotedAt))
      figures.firstRunMs.push((ledger.runs.find(({ at }) => at > promotedAt)?.at ?? 0) - promotedAt)
      log(`first run after ${figures.firstRunMs.at(-1)} ms`)
      await settled([], standby.server, names)
      figures.dustMs.push(Date.now() - promotedAt)
      log(`all are there after ${figures.dustMs.at(-1)} ms`)
      await nobodyIsLeftBehind(producers, fleet)

      const former = primary
      await comeBack(former.server)
      await former.proxy.heal()
      log('the former primary is back')
      address.moveTo(target(former.server))
      await cutSessions(standby.server)
      await sleep(1_000)
      address.moveTo(target(standby.server))
      const backAt = Date.now()
      await settled([former.server], standby.server, names)
      log(`all are where they were after ${Date.now() - backAt} ms`)
      await nobodyIsLeftBehind(producers, fleet)

      await former.proxy.refuse()
      await former.server.stop()
      primary = standby
      const next = await startStandby(startEmbedded, primary.server)
      cleanups.push(() => next.stop())
      former.proxy.moveTo(target(next))
      await former.proxy.heal()
      standby = { server: next, proxy: former.proxy }
    }

    await stopPutting()
    await waitFor(dustMs, 'the last acks', async () => (await tokensIn(primary.server)).length === 0).catch((error) =>
      violation(error.message),
    )
    const account = ledger.judge(await tokensIn(primary.server))
    for (const one of account.violations) violation(one)
    await Promise.all(fleet.map((worker) => worker.stop()))
    return { violations, summary: summary(account) }
  } catch (error) {
    violation(`the run itself has failed: ${error instanceof Error ? error.stack : error}`)
    return { violations, summary: 'not finished' }
  } finally {
    for (const cleanup of cleanups.reverse()) {
      // What does not end by itself ends with this process.
      await Promise.race([cleanup(), sleep(10_000)]).catch((error) => log(`cleaning up: ${error}`))
    }
  }

  /**
   * @param {Server} server
   * @returns {Promise<Place>}
   */
  async function place(server) {
    const proxy = await startProxy(target(server))
    cleanups.push(() => proxy.close())
    return { server, proxy }
  }

  /**
   * @param {string} name
   * @param {string} connectionString
   */
  function startWorker(name, connectionString) {
    const child = fork(new URL('./failover-worker.mjs', import.meta.url), [
      JSON.stringify({ bugleUrl: snapshot.bugleUrl, name, connectionString }),
    ])
    let isStopping = false
    let consumes = false
    child.on('message', (/** @type {any} */ { did, ...message }) => {
      const told = { ...message, by: name, at: Date.now() }
      if (did === 'consume') consumes = true
      if (did === 'run') ledger.ran(told)
      if (did === 'ack') ledger.acked(told)
      if (did === 'event') log(`${name} ${message.name} ${message.text}`)
    })
    child.once('exit', (code, signal) => {
      if (!isStopping) violation(`${name} ended by itself (${signal ?? `exit code ${code}`})`)
    })
    return {
      name,
      consumes: () => consumes,
      kill() {
        isStopping = true
        child.kill('SIGKILL')
      },
      async stop() {
        isStopping = true
        const exited = once(child, 'exit')
        child.send({ do: 'stop' })
        await exited
      },
    }
  }

  /** @param {readonly import('../../dist/index.js').Bugle[]} producers */
  function startPutting(producers) {
    /** @type {Set<Promise<unknown>>} */
    const inFlight = new Set()
    const timer = setInterval(() => {
      for (const producer of producers) {
        const one = putOne(producer, 'common')
        inFlight.add(one)
        void one.finally(() => inFlight.delete(one))
      }
    }, putsEveryMs)
    return async () => {
      clearInterval(timer)
      await Promise.all(inFlight)
    }
  }

  /**
   * @param {import('../../dist/index.js').Bugle} producer
   * @param {string} queue
   */
  async function putOne(producer, queue) {
    const put = ledger.put(queue)
    try {
      await producer.put(queue, { token: put.token })
      put.fate = 'committed'
    } catch (error) {
      const { code, message } = /** @type {Error & { code?: string }} */ (error)
      put.fate = code === 'DATABASE_DOWN' ? 'refused' : 'unknown'
      if (code !== 'DATABASE_DOWN' && code !== 'RESULT_UNKNOWN') violation(`put threw ${code}: ${message}`)
    }
    put.answeredAt = Date.now()
    return put
  }

  /**
   * Wait until every process has sessions on the new primary, and none elsewhere, for two seconds on end.
   *
   * @param {readonly Server[]} others
   * @param {Server} server
   * @param {readonly string[]} names
   */
  async function settled(others, server, names) {
    let since = Number.POSITIVE_INFINITY
    let why = ''
    try {
      await waitFor(dustMs, 'all sessions to be on one server', async () => {
        const here = await sessionsOn(server)
        const elsewhere = (await Promise.all(others.map(sessionsOn))).flat()
        const missing = names.flatMap((name) =>
          (name.startsWith('worker') ? [name, `${name} control`, `${name} listener`] : [name]).filter(
            (session) => !here.includes(session),
          ),
        )
        const now = elsewhere.length > 0 ? `elsewhere: ${elsewhere}` : missing.length > 0 ? `missing: ${missing}` : ''
        if (now !== why) log(now === '' ? 'all are there' : now)
        why = now
        if (why !== '') since = Number.POSITIVE_INFINITY
        else since = Math.min(since, performance.now())
        return performance.now() - since > 2_000
      })
    } catch (error) {
      throw new Error(`${/** @type {Error} */ (error).message}: ${why}`)
    }
  }

  /**
   * A job for each process alone, so that one which does not hear, or looks elsewhere, cannot hide behind the others.
   *
   * @param {readonly import('../../dist/index.js').Bugle[]} producers
   * @param {readonly { name: string }[]} fleet
   */
  async function nobodyIsLeftBehind(producers, fleet) {
    const puts = await Promise.all(producers.flatMap((producer) => fleet.map(({ name }) => putOne(producer, name))))
    for (const { queue, fate } of puts) if (fate !== 'committed') violation(`a put into ${queue} was ${fate}`)
    await waitFor(runMs, 'each process to run its job', async () => puts.every(({ token }) => ledger.isAcked(token)))
  }

  /** @param {ReturnType<typeof ledger.judge>} account */
  function summary({ puts, acked, runs, lostPuts, ackedAgain }) {
    return [
      `${rounds} failovers, ${puts} puts, ${acked} acked in ${runs} runs`,
      `${lostPuts} puts lost and ${ackedAgain} acked again, as an asynchronous failover may`,
      `first run after the promotion ${medianAndWorst(figures.firstRunMs)}`,
      `all sessions on the new primary ${medianAndWorst(figures.dustMs)}`,
    ].join('; ')
  }
}

/** @param {Server} server */
const target = ({ port }) => ({ host: '127.0.0.1', port })

/** @param {readonly Proxy[]} proxies */
const url = (proxies) => `postgres://postgres@${proxies.map(({ port }) => `127.0.0.1:${port}`).join(',')}/postgres`

/** @param {Server} server */
const sessionsOn = (server) =>
  withClient(server, async (client) => {
    const { rows } = await client.query(
      `select distinct application_name as name from pg_stat_activity where application_name ~ '^(worker|producer)'`,
    )
    return rows.map(({ name }) => String(name))
  })

/** @param {Server} server */
const cutSessions = (server) =>
  withClient(server, (client) =>
    client.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where application_name ~ '^(worker|producer)'`,
    ),
  )

/** @param {Server} server */
const tokensIn = (server) =>
  withClient(server, async (client) => {
    const { rows } = await client.query(`select (payload ->> 'token')::int as token from bugle.job`)
    return rows.map(({ token }) => Number(token))
  })

/** @param {readonly number[]} values */
function medianAndWorst(values) {
  const sorted = values.toSorted((one, other) => one - other)
  const median = sorted[Math.floor(sorted.length / 2)]
  return median === undefined ? '-' : `${median} ms in the middle, ${sorted.at(-1)} ms at most`
}
