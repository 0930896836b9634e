import { byToken, storyOf } from '../journal.mjs'
import { endOf, maxAttemptsOf, plannedError } from './plan.mjs'

/**
 * @typedef {import('../journal.mjs').Entry} Entry
 *
 * @typedef {object} Evidence
 * @property {ReadonlyMap<number, import('./plan.mjs').Plan>} put those whose put was answered
 * @property {readonly Entry[]} entries of all processes
 * @property {readonly { id: string, token: number, state: string, error: string | null }[]} ends as the database has
 *   them
 */

/** Outcomes after which a job is not run again. */
const last = ['ack', 'reject']
/** Of a job that was rescued for the last time (sql/statements/rescue.sql). */
const deathError = 'its process died while it ran'

/**
 * Hold what the handlers did against what became of their jobs.
 *
 * @param {Evidence} evidence
 */
export function judge({ put, entries, ends }) {
  /** @type {string[]} */
  const violations = []
  const jobs = byToken(entries)
  const endsOf = new Map(ends.map((end) => [end.token, end]))
  const tokenOf = new Map(ends.map(({ id, token }) => [id, token]))
  // What a worker is told names no token.
  for (const entry of entries) {
    if (entry.token !== undefined || entry.id === undefined) continue
    const token = tokenOf.get(entry.id)
    if (token !== undefined) jobs.get(token)?.push(entry)
  }
  /** @type {Map<string, number>} */
  const killedAt = new Map()
  for (const { did, worker, at } of entries) if (did === 'kill') killedAt.set(worker, at)
  /** @type {number[]} */
  const lateMs = []
  let runs = 0
  let cut = 0

  for (const [token, plan] of put) {
    const all = (jobs.get(token) ?? []).sort((one, other) => one.at - other.at)
    const about = `job ${endsOf.get(token)?.id ?? '?'} (token ${token}, ${plan.mode})`
    /** @param {string} what */
    const violation = (what) => violations.push(`${about}: ${what}\n${storyOf(all)}`)
    checkRuns(all, violation)
    checkEnd(plan, all, violation)
  }
  return { violations, figures: { runs, cut, lateMs } }

  /** @param {string} worker @param {number} at */
  function wasKilled(worker, at) {
    return (killedAt.get(worker) ?? Number.POSITIVE_INFINITY) <= at
  }

  /**
   * A crash uses up an attempt, so one in the last attempt fails the job.
   *
   * @param {import('./plan.mjs').Mode} mode
   * @param {readonly Entry[]} all
   */
  function diedInLastAttempt(mode, all) {
    const latest = all.findLast(({ did }) => did === 'start' || did === 'end')
    return latest?.did === 'start' && latest.attempt === maxAttemptsOf(mode) && killedAt.has(latest.by)
  }

  /**
   * @param {readonly Entry[]} all
   * @param {(what: string) => void} violation
   */
  function checkRuns(all, violation) {
    /** The run that is not over. @type {Entry | null} */
    let open = null
    /** The end of the last one. @type {Entry | null} */
    let ended = null
    let isFirst = true
    for (const entry of all) {
      if (entry.did === 'requeue') ended = null
      if (entry.did === 'job:interrupted' && ended?.by === entry.by) ended = null
      if (entry.did === 'told' && entry.as === 'acked' && ended?.as !== 'ack') violation(`${entry.by} told it as acked`)
      if (entry.did === 'end') {
        open = null
        ended = entry
      }
      if (entry.did !== 'start') continue
      runs += 1
      if (isFirst) lateMs.push(entry.lateMs)
      isFirst = false
      if (open !== null && wasKilled(open.by, entry.at)) cut += 1
      else if (open !== null) violation(`is run by ${entry.by} while it is run by ${open.by}`)
      if (ended !== null && last.includes(ended.as) && !wasKilled(ended.by, entry.at)) {
        violation(`is run again after it ended with ${ended.as}`)
      }
      open = entry
    }
  }

  /**
   * @param {import('./plan.mjs').Plan} plan
   * @param {readonly Entry[]} all
   * @param {(what: string) => void} violation
   */
  function checkEnd({ token, mode }, all, violation) {
    const end = endsOf.get(token)
    const isPlanned = (/** @type {string | null} */ message) =>
      message?.includes(plannedError) || (diedInLastAttempt(mode, all) && message?.includes(deathError))
    if (end === undefined) return violation('is in no table')
    if (end.state !== endOf(mode)) violation(`must end ${endOf(mode)}, and is ${end.state}: ${end.error}`)
    else if (end.state === 'failed' && !isPlanned(end.error)) violation(`failed by ${end.error}`)
    for (const { did, as, cause, message } of all) {
      if (did !== 'told' || as === 'acked' || as === 'released') continue
      if (!isPlanned(message)) violation(`was told as ${as} (${cause}) by ${message}`)
    }
  }
}
