import { setTimeout as sleep } from 'node:timers/promises'

/**
 * @typedef {'kill' | 'pause' | 'hang' | 'stop' | 'terminate' | 'restart-fast' | 'restart-immediate' | 'freeze' | 'cut'}
 * Kind
 *
 * - `kill`: SIGKILL of a worker
 * - `pause`: SIGSTOP, and SIGCONT before hungAfterMs is over; `hang`: after it
 * - `stop`: asked to stop with little grace, at whatever moment
 * - `terminate`: pg_terminate_backend of all backends of one role of one process
 * - `restart-fast`, `restart-immediate`: of the server
 * - `freeze`: a proxy forwards nothing more, and cuts its connections later; `cut`: it cuts and refuses at once
 *
 * @typedef {{ atMs: number, kind: Kind, worker: number, proxy: number, role: string, forMs: number }} Fault
 */

/** @type {Readonly<Record<Kind, number>>} */
const weights = {
  kill: 20,
  pause: 12,
  hang: 6,
  stop: 8,
  terminate: 20,
  'restart-fast': 5,
  'restart-immediate': 5,
  freeze: 12,
  cut: 12,
}

const roles = ['', ' control', ' listener', ' handler']

/**
 * The faults of a run, from the seed alone.
 *
 * @param {object} plan
 * @param {number} plan.seconds
 * @param {number} plan.workers
 * @param {number} plan.proxies
 * @param {number} plan.hungAfterMs
 * @param {readonly string[]} plan.only kinds; empty: all
 * @param {import('./random.mjs').Random} random
 * @returns {Fault[]}
 */
export function planFaults({ seconds, workers, proxies, hungAfterMs, only }, random) {
  const chosen = Object.fromEntries(
    Object.entries(weights).filter(([kind]) => only.length === 0 || only.includes(kind)),
  )
  /** @type {Fault[]} */
  const faults = []
  for (let atMs = 1_500; atMs < seconds * 1_000; atMs += random.between(200, 2_400)) {
    const kind = random.weighted(/** @type {Record<Kind, number>} */ (chosen))
    const forMs = {
      pause: random.between(300, hungAfterMs - 500),
      hang: hungAfterMs + random.between(1_500, 4_000),
      freeze: random.between(500, 9_000),
      cut: random.between(100, 4_000),
    }
    faults.push({
      atMs,
      kind,
      worker: random.between(0, workers - 1),
      proxy: random.between(0, proxies - 1),
      role: random.pick(roles),
      forMs: kind in forMs ? forMs[/** @type {keyof typeof forMs} */ (kind)] : random.between(0, 1_000),
    })
  }
  return faults
}

/**
 * Let them happen, each at its time.
 *
 * @param {readonly Fault[]} faults
 * @param {object} parts
 * @param {import('./workers.mjs').Workers} parts.workers
 * @param {readonly { proxy: import('../support/proxy.js').Proxy, workers: readonly number[] }[]} parts.proxies
 * @param {import('../../dist/embedded/index.js').EmbeddedPostgres} parts.server
 * @param {import('./ledger.mjs').Ledger} parts.ledger
 * @param {(text: string) => void} parts.log
 */
export async function runFaults(faults, { workers, proxies, server, ledger, log }) {
  /** @type {import('./workers.mjs').Harm[]} */
  const restarts = []
  /** @type {Map<string, number>} */
  const done = new Map()
  /** @type {Set<number>} */
  const brokenProxies = new Set()
  /** @type {Set<Promise<void>>} */
  const healings = new Set()
  /** @type {Promise<void> | null} */
  let restarting = null
  const startedAt = performance.now()

  /**
   * @param {Fault} fault
   * @returns {Promise<boolean>} false: it could not be done now
   */
  async function happen({ kind, worker, proxy: index, role, forMs }) {
    switch (kind) {
      case 'kill':
        return workers.kill(worker)
      case 'pause':
      case 'hang':
        return workers.pause(worker, kind, forMs)
      case 'stop':
        return workers.stop(worker, { graceMs: forMs, abortMs: 500 })
      case 'terminate':
        return terminate(worker, role)
      case 'restart-fast':
      case 'restart-immediate': {
        if (restarting !== null) return false
        restarting = restart(kind === 'restart-fast' ? 'fast' : 'immediate').finally(() => {
          restarting = null
        })
        return true
      }
      case 'freeze':
      case 'cut':
        return breakProxy(kind, index, forMs)
    }
  }

  /** @param {'fast' | 'immediate'} mode */
  async function restart(mode) {
    const harm = { kind: `restart-${mode}`, from: Date.now(), to: Number.POSITIVE_INFINITY }
    restarts.push(harm)
    await server.restart(mode)
    harm.to = Date.now()
    log(`the server is back after ${harm.to - harm.from} ms`)
  }

  /**
   * @param {number} worker
   * @param {string} role
   */
  async function terminate(worker, role) {
    const name = workers.nameOf(worker)
    if (name === null || restarting !== null) return false
    workers.harmWay(worker, `terminate${role || ' pool'}`, 0)
    const killed = await ledger
      .askOnce('select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1', [`${name}${role}`])
      .catch(() => [])
    return killed.length > 0
  }

  /**
   * @param {'freeze' | 'cut'} kind
   * @param {number} index
   * @param {number} forMs
   */
  async function breakProxy(kind, index, forMs) {
    const broken = proxies[index]
    if (broken === undefined || brokenProxies.has(index)) return false
    brokenProxies.add(index)
    for (const worker of broken.workers) workers.harmWay(worker, kind, forMs)
    if (kind === 'freeze') broken.proxy.freeze()
    else await broken.proxy.refuse()
    const healing = sleep(forMs).then(async () => {
      await broken.proxy.heal()
      brokenProxies.delete(index)
    })
    healings.add(healing)
    void healing.finally(() => healings.delete(healing))
    return true
  }

  for (const fault of faults) {
    await sleep(Math.max(0, startedAt + fault.atMs - performance.now()))
    const { kind, worker, proxy, role, forMs } = fault
    const hasHappened = await happen(fault)
    const what = { terminate: `w${worker + 1}${role || ' pool'}`, freeze: `proxy ${proxy}`, cut: `proxy ${proxy}` }
    const target =
      kind in what ? what[/** @type {keyof typeof what} */ (kind)] : kind.startsWith('restart') ? '' : `w${worker + 1}`
    log(`FAULT ${kind} ${target} ${forMs} ms${hasHappened ? '' : ' (not now)'}`)
    if (hasHappened) done.set(kind, (done.get(kind) ?? 0) + 1)
  }
  await restarting
  await Promise.all(healings)
  return { restarts, done }
}
