import { byToken, storyOf } from '../journal.mjs'

/**
 * @typedef {import('../journal.mjs').Entry} Entry
 *
 * @typedef {object} Row of a job, as the database has it at the end
 * @property {string} id
 * @property {number} token
 * @property {string} state
 */

/** Codes of a call that may have written, and may not. */
const unknown = ['RESULT_UNKNOWN']
/** Codes of a call that has written nothing. */
const nothing = ['DATABASE_DOWN']

/**
 * Hold what callers and workers were told against what is written, and against what ran later.
 *
 * @param {readonly Entry[]} entries of all processes
 * @param {readonly Row[]} rows
 */
export function judge(entries, rows) {
  /** @type {string[]} */
  const violations = []
  const figures = { jobs: 0, runs: 0, told: 0, unknown: 0, nothing: 0 }
  /** @type {Map<number, Row>} */
  const rowOf = new Map()
  for (const row of rows) {
    const other = rowOf.get(row.token)
    if (other !== undefined) violations.push(`token ${row.token} was put once, and is job ${other.id} and ${row.id}`)
    rowOf.set(row.token, row)
  }
  const tokenOf = new Map(rows.map(({ id, token }) => [id, token]))
  const jobs = byToken(entries)
  // What a worker is told names no token.
  for (const entry of entries) {
    const token = entry.token === undefined && entry.id !== undefined ? tokenOf.get(entry.id) : undefined
    if (token !== undefined) jobs.get(token)?.push(entry)
  }
  for (const [token, job] of jobs) checkJob(token, job)
  const ids = new Set(rows.map(({ id }) => id))
  for (const { did, as, id, by } of entries) {
    if (did === 'told' && !ids.has(id)) violations.push(`${by} was told ${as} of job ${id}, which is in no table`)
  }
  return { violations, figures }

  /** @param {number} token @param {readonly Entry[]} unsorted */
  function checkJob(token, unsorted) {
    const all = unsorted.toSorted((one, other) => one.at - other.at)
    const row = rowOf.get(token)
    const mode = all.find(({ did }) => did === 'plan')?.mode
    const about = `job ${row?.id ?? '?'} (token ${token}, ${mode})`
    /** @param {string} what */
    const violation = (what) => violations.push(`${about}: ${what}\n${storyOf(all)}`)
    figures.jobs += 1
    checkCalls(all, row, violation)
    checkRuns(all, violation)
    const ends = endsOf(mode, all)
    if (row !== undefined && !ends.includes(row.state)) violation(`must end ${ends.join(' or ')}, and is ${row.state}`)
  }

  /**
   * @param {readonly Entry[]} all
   * @param {Row | undefined} row
   * @param {(what: string) => void} violation
   */
  function checkCalls(all, row, violation) {
    for (const { did, answer, code, message } of all) {
      if (!['put', 'look', 'cancel', 'requeue'].includes(did)) continue
      if (code !== undefined) {
        if (unknown.includes(code)) figures.unknown += 1
        else if (nothing.includes(code)) figures.nothing += 1
        else violation(`${did} was refused by ${code}: ${message}`)
      }
      if (did === 'put') {
        if (code === undefined && row?.id !== answer)
          violation(`put has told ${answer}, and it is ${row?.id ?? 'nowhere'}`)
        if (nothing.includes(code) && row !== undefined)
          violation('put has told that nothing was written, and it is there')
      }
      if (did === 'look' && answer === false) violation('job(id) has told that there is no such job')
      if (did === 'cancel' && code === undefined && answer !== 'cancelled')
        violation(`cancel of a waiting job: ${answer}`)
      if (did === 'requeue') {
        const ranAgain = hasRunAfterRequeue(all)
        if (code === undefined && answer !== 1) violation(`requeue of a failed job has answered ${answer}`)
        if (answer === 1 && !ranAgain) violation('was requeued, and never ran')
        if (nothing.includes(code) && ranAgain) violation('ran, and requeue has told that nothing was written')
      }
    }
  }

  /**
   * @param {readonly Entry[]} all
   * @param {(what: string) => void} violation
   */
  function checkRuns(all, violation) {
    /** @type {Entry[]} those that hold still */
    let told = []
    /** @type {Set<number>} begun */
    const attempts = new Set()
    for (const entry of all) {
      // It may run again, from its first attempt. Of a run before that it may be told later.
      if (entry.did === 'asks-requeue') {
        told = []
        attempts.clear()
      }
      if (entry.did === 'told') {
        figures.told += 1
        if (attempts.has(entry.attempt)) told.push(entry)
      }
      if (entry.did !== 'start') continue
      figures.runs += 1
      attempts.add(entry.attempt)
      for (const { as, attempt, by } of told) {
        const what = `${by} was told attempt ${attempt} as ${as}`
        const goesOn = as === 'retrying' || as === 'partial'
        if (!goesOn) violation(`ran again after ${what}`)
        else if (entry.attempt <= attempt) violation(`ran as attempt ${entry.attempt} after ${what}`)
      }
    }
    const [first, second] = all.filter(({ did, as }) => did === 'told' && as === 'acked')
    if (second !== undefined) violation(`told as acked twice, by ${first?.by} and ${second.by}`)
  }
}

/** @param {readonly Entry[]} all */
function hasRunAfterRequeue(all) {
  const askedAt = all.find(({ did }) => did === 'asks-requeue')?.at ?? Number.POSITIVE_INFINITY
  return all.some(({ did, at }) => did === 'start' && at > askedAt)
}

/**
 * How a job may end.
 *
 * @param {string} mode
 * @param {readonly Entry[]} all
 * @returns {string[]}
 */
function endsOf(mode, all) {
  if (mode === 'reject') return ['failed']
  if (mode !== 'parked') return ['archived']
  const cancel = all.find(({ did }) => did === 'cancel')
  if (cancel === undefined || nothing.includes(cancel.code)) return ['scheduled']
  return unknown.includes(cancel.code) ? ['scheduled', 'failed'] : ['failed']
}
