import { fork } from 'node:child_process'

/**
 * A worker process of the recovery bench, see alone-worker.mjs.
 *
 * @param {string} connectionString
 * @param {string} name
 */
export function startWorker(connectionString, name) {
  const child = fork(new URL('./alone-worker.mjs', import.meta.url), [JSON.stringify({ connectionString, name })])
  /** @type {{ did: string, queue?: string, to?: string, at: number }[]} */
  const told = []
  /** @type {Set<() => void>} */
  const waiting = new Set()
  child.on('message', (message) => {
    told.push(/** @type {any} */ (message))
    for (const look of waiting) look()
  })
  child.on('exit', (code) => {
    if (!child.killed) throw new Error(`${name} ended by itself: ${code}`)
  })

  /**
   * Resolves with the times of what is told from the n-th message on, once there are so many.
   *
   * @param {Partial<{ did: string, queue: string, to: string }>} wanted
   * @param {number} count
   * @param {number} [since] as `mark()` said
   * @returns {Promise<number[]>}
   */
  function untilTold(wanted, count = 1, since = 0) {
    return new Promise((resolve) => {
      const look = () => {
        const found = told
          .slice(since)
          .filter((message) =>
            Object.entries(wanted).every(([key, value]) => message[/** @type {'did'} */ (key)] === value),
          )
        if (found.length < count) return
        waiting.delete(look)
        resolve(found.slice(0, count).map(({ at }) => at))
      }
      waiting.add(look)
      look()
    })
  }

  return {
    name,
    pid: child.pid ?? 0,
    mark: () => told.length,
    told: untilTold,
    /** @param {string} queue @param {{ concurrency: number, holds: boolean }} options */
    async consume(queue, options) {
      const since = told.length
      child.send({ do: 'consume', queue, ...options })
      await untilTold({ did: 'consume', queue }, 1, since)
    },
    /** @param {string} queue */
    letGo: (queue) => void child.send({ do: 'let-go', queue }),
    /** @param {string} queue */
    async stop(queue) {
      const since = told.length
      child.send({ do: 'stop', queue })
      await untilTold({ did: 'stop', queue }, 1, since)
    },
    kill: () => void child.kill('SIGKILL'),
  }
}

/** The monotonic clock of the machine, which all processes share. */
export const now = () => Number(process.hrtime.bigint()) / 1e6
