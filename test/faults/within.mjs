import { setTimeout as sleep } from 'node:timers/promises'

/**
 * What the work resolves with; rejects when it is not done in time.
 *
 * @template Result
 * @param {number} ms
 * @param {Promise<Result>} work
 * @param {string} what
 */
export async function within(ms, work, what) {
  const late = new AbortController()
  try {
    return await Promise.race([
      work,
      sleep(ms, undefined, { signal: late.signal }).then(() => {
        throw new Error(`${what}: not done after ${ms} ms`)
      }),
    ])
  } finally {
    late.abort()
  }
}

/**
 * Look again and again, until there is something.
 *
 * @param {number} mostMs
 * @param {() => boolean | Promise<boolean>} look
 * @returns {Promise<boolean>} false: there was nothing in all that time
 */
export async function untilTrue(mostMs, look) {
  const until = performance.now() + mostMs
  while (!(await look())) {
    if (performance.now() > until) return false
    await sleep(50)
  }
  return true
}
