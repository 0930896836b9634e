/**
 * What was put, run and acked, as the processes told it: a ledger outside of the databases, since a failover may take
 * back what a database says.
 *
 * @typedef {object} Round of one primary
 * @property {boolean} isSynchronous
 * @property {number} killedAt ms since 1970
 * @property {number} promotedAt the new primary takes writes
 *
 * @typedef {object} Put
 * @property {number} token
 * @property {string} queue
 * @property {'committed' | 'refused' | 'unknown' | null} fate
 * @property {number} answeredAt
 *
 * @typedef {{ token: number, attempt: number, workerId: string, by: string, at: number }} Told
 */

export function createFailoverLedger() {
  /** @type {Map<number, Put>} */
  const puts = new Map()
  /** @type {Told[]} */
  const runs = []
  /** @type {Map<number, Told[]>} */
  const acks = new Map()
  /** @type {Round[]} */
  const rounds = []

  /**
   * Whether a commit that was told at that moment may have been lost with a primary: only an asynchronous one has
   * commits that its standby never got, and only those of its last moments.
   *
   * @param {number} at
   */
  function mayBeLost(at) {
    return rounds.some(
      ({ isSynchronous, killedAt, promotedAt }) => !isSynchronous && killedAt - lostWithinMs <= at && at <= promotedAt,
    )
  }

  /**
   * Whether the second of two acks is told of a run whose claim was lost with a primary, while its ack had no answer.
   * On the new primary the job ran once more. So the row is missing when that ack is sent again, and it counts as its
   * own: it is told twice, and settled once (src/worker/trust.ts).
   *
   * @param {Told} after
   */
  function isOfLostRun({ token, workerId }) {
    return runs.some((run) => run.token === token && run.workerId === workerId && mayBeLost(run.at))
  }

  return {
    rounds,
    runs,
    /** @param {string} queue */
    put(queue) {
      /** @type {Put} */
      const put = { token: puts.size + 1, queue, fate: null, answeredAt: 0 }
      puts.set(put.token, put)
      return put
    },
    /** @param {Told} told */
    ran: (told) => void runs.push(told),
    /** @param {Told} told */
    acked(told) {
      acks.set(told.token, [...(acks.get(told.token) ?? []), told])
    },
    /** @param {number} token */
    isAcked: (token) => acks.has(token),
    /** Those that must still be acked, so far as is known. */
    open: () => [...puts.values()].filter(({ token, fate }) => fate === 'committed' && !acks.has(token)),
    /**
     * @param {readonly number[]} present tokens of jobs that the last primary still has
     * @returns what is wrong, and what was lost as it may be
     */
    judge(present) {
      /** @type {string[]} */
      const violations = []
      let lostPuts = 0
      let ackedAgain = 0
      const there = new Set(present)
      for (const { token, queue, fate, answeredAt } of puts.values()) {
        const about = `job ${token} of ${queue}`
        const all = acks.get(token) ?? []
        if (fate === null) violations.push(`${about}: its put was never answered`)
        if (fate === 'refused' && all.length > 0) violations.push(`${about}: refused, and acked`)
        if (fate === 'committed' && all.length === 0) {
          if (mayBeLost(answeredAt) && !there.has(token)) lostPuts += 1
          else violations.push(`${about}: never acked; put ${time(answeredAt)}, ${there.has(token) ? '' : 'not '}there`)
        }
        for (const [before, after] of pairs(all)) {
          ackedAgain += 1
          if (mayBeLost(before.at) || isOfLostRun(after)) continue
          violations.push(
            `${about}: settled twice: by ${before.by} at ${time(before.at)} and by ${after.by} at ${time(after.at)}`,
          )
        }
      }
      return { violations, lostPuts, ackedAgain, puts: puts.size, acked: acks.size, runs: runs.length }
    },
  }
}

/** The most that the standby may be behind on one machine, and a told ack on its way to us. */
const lostWithinMs = 2_000

/**
 * @param {readonly Told[]} all
 * @returns {[Told, Told][]}
 */
function pairs(all) {
  return all.slice(1).map((after, index) => [/** @type {Told} */ (all[index]), after])
}

/** @param {number} at */
const time = (at) => new Date(at).toISOString().slice(11, 23)

/** @typedef {ReturnType<typeof createFailoverLedger>} FailoverLedger */
