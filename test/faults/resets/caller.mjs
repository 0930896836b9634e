import { setTimeout as sleep } from 'node:timers/promises'
import { parkedMs, planJob } from './plan.mjs'

/**
 * Puts one queue's jobs at a steady rate, looks for each, cancels those that are parked, and requeues those that are
 * refused. Each call and its answer is written into the journal: `did` is the call, `answer` what it resolved with,
 * `code` that of the error it rejected with.
 *
 * @param {object} parts
 * @param {import('../../../dist/index.js').Bugle} parts.bugle by the connections that are reset
 * @param {string} parts.queue
 * @param {number} parts.jobs
 * @param {number} parts.seconds
 * @param {() => number} parts.nextToken
 * @param {import('../ledger.mjs').Ledger} parts.ledger past them
 * @param {import('../journal.mjs').Journal} parts.journal
 * @param {import('../random.mjs').Random} parts.random
 */
export function startCaller({ bugle, queue, jobs, seconds, nextToken, ledger, journal, random }) {
  /**
   * @template Answer
   * @param {string} did
   * @param {number} token
   * @param {Promise<Answer>} call
   */
  async function asked(did, token, call) {
    try {
      const answer = await call
      journal.write({ did, token, answer })
      return answer
    } catch (error) {
      const { code, message } = /** @type {Error & { code?: string }} */ (error)
      journal.write({ did, token, code: code ?? 'none', message })
    }
  }

  async function one() {
    const plan = planJob(nextToken(), random)
    const { token, mode } = plan
    journal.write({ did: 'plan', token, queue, mode })
    const options = mode === 'parked' ? { delayMs: parkedMs } : {}
    const id = await asked('put', token, bugle.put(queue, plan, options))
    if (id === undefined) return
    await asked(
      'look',
      token,
      bugle.job(id).then((job) => job !== null),
    )
    if (mode === 'parked') await asked('cancel', token, bugle.cancel(id))
  }

  /** Those that are refused for the first time, once each. @param {AbortSignal} ended */
  async function requeue(ended) {
    /** @type {Set<string>} */
    const seen = new Set()
    while (!ended.aborted) {
      await sleep(300, undefined, { signal: ended }).catch(() => {})
      const rows = await ledger.ask(
        `select id::text as id, (payload ->> 'token')::int as token
         from bugle.job
         where queue = $1 and state = 'failed' and payload ->> 'mode' = 'reject'`,
        [queue],
      )
      const fresh = rows.filter(({ id }) => !seen.has(id))
      await Promise.all(
        fresh.map(({ id, token }) => {
          seen.add(id)
          journal.write({ did: 'asks-requeue', token })
          return asked('requeue', token, bugle.requeue(id))
        }),
      )
    }
  }

  return {
    /** Resolves when all is answered. */
    async run() {
      const isOver = new AbortController()
      const requeues = requeue(isOver.signal)
      /** @type {Set<Promise<void>>} */
      const inFlight = new Set()
      const startedAt = performance.now()
      for (let number = 0; number < jobs; number += 1) {
        await sleep(Math.max(0, startedAt + (number * seconds * 1_000) / jobs - performance.now()))
        const call = one()
        inFlight.add(call)
        void call.finally(() => inFlight.delete(call))
      }
      await Promise.all(inFlight)
      isOver.abort()
      await requeues
    },
  }
}
