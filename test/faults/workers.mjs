import { fork } from 'node:child_process'
import { once } from 'node:events'

/**
 * One life of a worker process, and all that was done to it.
 *
 * @typedef {object} Life
 * @property {string} name `w2.5`: the fifth life of the second worker; also its application_name
 * @property {number} pid
 * @property {Harm[]} harms done to this life
 * @property {Harm[]} wayHarms done to the way of this worker to the database, in all its lives
 * @property {string | null} stoppedBy null while nobody has ended it
 * @property {{ reports: import('../../dist/index.js').StopReport[], ms: number } | null} stop
 *
 * @typedef {object} Harm
 * @property {string} kind
 * @property {number} from ms since 1970
 * @property {number} to
 *
 * @typedef {{ id: string, workerId: string, attempt: number, as: 'archived' | 'failed' }} End
 */

/** Beyond graceMs + abortMs, the most that a stop may take. */
export const stopMarginMs = 1_000

/**
 * Worker processes: each is started again after its end, until `quiet()`.
 *
 * @param {object} parts
 * @param {import('./snapshot.mjs').Snapshot} parts.snapshot
 * @param {readonly { connectionString: string, listenConnectionString?: string }[]} parts.ways one for each worker
 * @param {import('../../dist/index.js').BugleOptions} parts.options
 * @param {string} parts.journal of the bursts
 * @param {import('./random.mjs').Random} parts.random
 * @param {(text: string) => void} parts.log
 * @param {(text: string) => void} parts.violation
 */
export function createWorkers({ snapshot, ways, options, journal, random, log, violation }) {
  /** @type {Life[]} */
  const lives = []
  /** @type {End[]} */
  const ends = []
  /** @type {Map<string, number>} */
  const events = new Map()
  /** @type {Set<Promise<void>>} */
  const restarts = new Set()
  let isQuiet = false
  /** @type {Harm[][]} */
  const wayHarms = ways.map(() => [])
  const slots = ways.map((way, index) => ({ way, lives: 1, current: start(index, way, 1) }))

  /**
   * @param {number} index
   * @param {{ connectionString: string, listenConnectionString?: string }} way
   * @param {number} number
   */
  function start(index, way, number) {
    const name = `w${index + 1}.${number}`
    const child = fork(
      new URL('./worker.mjs', import.meta.url),
      [JSON.stringify({ bugleUrl: snapshot.bugleUrl, name, ...way, options, journal })],
      { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] },
    )
    /** @type {Life} */
    const life = { name, pid: child.pid ?? 0, harms: [], wayHarms: wayHarms[index] ?? [], stoppedBy: null, stop: null }
    lives.push(life)
    let output = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text) => {
        output = (output + text).slice(-4_000)
      })
    }
    const consumes = new Promise((resolve) => {
      child.on('message', (/** @type {any} */ message) => {
        if (message.did === 'consume') resolve(undefined)
        if (message.did === 'ended') ends.push(...message.ends)
        if (message.did === 'stop') life.stop = message
        if (message.did === 'event') {
          events.set(message.name, (events.get(message.name) ?? 0) + 1)
          log(`${name} ${message.name} ${message.text}`)
        }
      })
    })
    const exited = once(child, 'close').then(([code, signal]) => {
      if (life.stoppedBy === null || (code !== 0 && signal !== 'SIGKILL')) {
        violation(`${name} ended by itself (${signal ?? `exit code ${code}`}):\n${output}`)
      }
      if (output !== '') log(`${name} wrote:\n${output}`)
    })
    return { life, child, exited, consumes, isPaused: false }
  }

  /**
   * Start a worker again some time after its end.
   *
   * @param {number} index
   */
  function startAgain(index) {
    const slot = slots[index]
    if (slot === undefined) return
    const { exited } = slot.current
    const again = exited
      .then(() => (isQuiet ? undefined : new Promise((resolve) => setTimeout(resolve, random.between(100, 1_500)))))
      .then(() => {
        slot.lives += 1
        slot.current = start(index, slot.way, slot.lives)
      })
    restarts.add(again)
    void again.finally(() => restarts.delete(again))
  }

  /**
   * @param {Life} life
   * @param {string} kind
   * @param {number} [forMs]
   */
  function harm(life, kind, forMs = Number.POSITIVE_INFINITY) {
    const from = Date.now()
    life.harms.push({ kind, from, to: from + forMs })
  }

  /** @param {number} index */
  function alive(index) {
    const current = slots[index]?.current
    return current === undefined || current.life.stoppedBy !== null ? null : current
  }

  /**
   * Ask one to stop, and see that it is over in time.
   *
   * @param {NonNullable<ReturnType<typeof alive>>} current
   * @param {{ graceMs: number, abortMs: number }} times
   */
  async function stopOne({ life, child, exited }, times) {
    life.stoppedBy = 'stop'
    child.send({ do: 'stop', ...times }, () => {})
    const startedAt = performance.now()
    const mostMs = times.graceMs + times.abortMs + stopMarginMs
    const margin = setTimeout(() => {
      const askedMsAgo = Math.round(performance.now() - startedAt)
      violation(`${life.name} does not stop: asked ${askedMsAgo} ms ago, ${JSON.stringify(times)}`)
      child.kill('SIGKILL')
    }, mostMs + 10_000)
    await exited
    clearTimeout(margin)
    if (life.stop === null) violation(`${life.name} ended its stop without a report`)
    else log(`${life.name} stopped after ${Math.round(life.stop.ms)} ms`)
    if (life.stop !== null && life.stop.ms > mostMs) {
      violation(`${life.name} stopped after ${Math.round(life.stop.ms)} ms; asked for ${JSON.stringify(times)}`)
    }
  }

  return {
    lives,
    ends,
    events,
    count: ways.length,
    /** Resolves when all consume. */
    started: Promise.all(slots.map(({ current }) => current.consumes)),
    /** @param {number} index */
    nameOf: (index) => alive(index)?.life.name ?? null,
    /**
     * For what is done to a worker's connections.
     *
     * @param {number} index
     * @param {string} kind
     * @param {number} forMs
     */
    harmWay(index, kind, forMs) {
      const from = Date.now()
      wayHarms[index]?.push({ kind, from, to: from + forMs })
    },
    /** @param {number} index */
    kill(index) {
      const current = alive(index)
      if (current === null) return false
      harm(current.life, 'kill')
      current.life.stoppedBy = 'kill'
      current.child.kill('SIGKILL')
      startAgain(index)
      return true
    },
    /**
     * @param {number} index
     * @param {'pause' | 'hang'} kind
     * @param {number} forMs
     */
    pause(index, kind, forMs) {
      const current = alive(index)
      if (current === null || current.isPaused) return false
      current.isPaused = true
      harm(current.life, kind, forMs)
      current.child.kill('SIGSTOP')
      setTimeout(() => {
        current.child.kill('SIGCONT')
        current.isPaused = false
      }, forMs)
      return true
    },
    /**
     * @param {number} index
     * @param {{ graceMs: number, abortMs: number }} times
     */
    stop(index, times) {
      const current = alive(index)
      if (current === null || current.isPaused) return false
      harm(current.life, 'stop')
      void stopOne(current, times)
      startAgain(index)
      return true
    },
    /** No more harm: resolves when all consume. */
    async quiet() {
      isQuiet = true
      for (const { current } of slots) {
        if (current.isPaused) current.child.kill('SIGCONT')
      }
      while (restarts.size > 0) await Promise.all(restarts)
      await Promise.all(slots.map(({ current }) => current.consumes))
    },
    /** @param {{ graceMs: number, abortMs: number }} times */
    stopAll: (times) => Promise.all(slots.map(({ current }) => stopOne(current, times))),
    /** Whatever happens: none is left behind. */
    killAll() {
      for (const { current } of slots) {
        current.life.stoppedBy ??= 'kill'
        current.child.kill('SIGKILL')
      }
    },
  }
}

/** @typedef {ReturnType<typeof createWorkers>} Workers */
