import { byToken, storyOf } from '../journal.mjs'

/**
 * @typedef {import('../ledger.mjs').Step} Step
 * @typedef {import('../journal.mjs').Entry} Entry
 * @typedef {import('../workers.mjs').Life} Life
 */

/** How long after a harm a job may run again: its process has to be ended, or to hear that it is given up. */
const slackMs = 3_000

/**
 * Hold what was put, what ran and what was told against what the database says of each row:
 *
 * - a committed job is deleted in the end, once;
 * - what was deleted has run, as it said then, in the very process whose session deleted it;
 * - nothing begins after it was told as acked;
 * - a running job is settled by its owner, or rescued;
 * - what has run to its end runs again only if something had happened to its process.
 *
 * @param {object} evidence
 * @param {readonly import('./putter.mjs').PutBurst[]} evidence.puts
 * @param {readonly Step[]} evidence.steps of bursts
 * @param {readonly Entry[]} evidence.entries of the journal, in their order
 * @param {readonly { id: string, name: string }[]} evidence.workers
 * @param {readonly Life[]} evidence.lives
 * @param {readonly import('../workers.mjs').Harm[]} evidence.restarts
 * @param {readonly { name: string, harm: import('../workers.mjs').Harm }[]} evidence.meddled
 */
export function judgeBursts({ puts, steps, entries, workers, lives, restarts, meddled }) {
  /** @type {string[]} */
  const violations = []
  const nameOf = new Map(workers.map(({ id, name }) => [id, name]))
  const lifeOf = new Map(lives.map((life) => [life.name, life]))
  const stepsOf = byToken(steps)
  const entriesOf = byToken(entries)
  const onLanes = steps.filter(({ statement }) => statement === 'express_ack')
  const figures = {
    jobs: 0,
    onLanes: onLanes.length,
    batches: new Set(onLanes.map(({ tx }) => tx)).size,
    alone: steps.filter(({ statement }) => statement === 'settle_express').length,
    kept: steps.filter(({ statement }) => statement === 'express_keep' || statement === 'keep_express').length,
    again: 0,
  }

  for (const { first, count, fate } of puts) {
    for (let token = first; token > first - count; token -= 1) checkJob(token, fate)
  }
  return { violations, figures }

  /**
   * @param {number} token
   * @param {string} fate
   */
  function checkJob(token, fate) {
    const rows = stepsOf.get(token) ?? []
    const told = entriesOf.get(token) ?? []
    /** @param {string} what */
    const violation = (what) =>
      violations.push(`burst ${token}, ${fate}: ${what}\n${rows.map(line).join('\n')}\n${storyOf(told)}`)
    if (rows.length === 0) {
      if (fate === 'committed') violation('lost: there was never such a row')
      return
    }
    if (fate === 'refused') violation('exists')
    figures.jobs += 1
    const ends = rows.filter(({ to }) => to === 'deleted')
    if (ends.length !== 1) violation(`deleted ${ends.length} times`)
    for (const end of ends) {
      const author = end.by.split(' ')[0]
      const hasRun = told.some(
        ({ did, by, version, ms }) => did === 'ran' && by === author && version === end.version && ms <= end.at + 1_000,
      )
      if (!hasRun) violation(`deleted by ${end.by}, where version ${end.version} has not run to its end`)
    }
    for (const step of rows) {
      if (step.from !== 'running') continue
      const isRescue = (step.crashesTo ?? 0) > (step.crashesFrom ?? 0)
      const owner = nameOf.get(step.workerId ?? '')
      // The commit of a lane has kept it, and the answer was lost: it is kept once more, as it is.
      const isKeptAgain = step.statement === 'keep_express' && step.leaseFrom === step.leaseTo
      if (step.to === 'running' && !isKeptAgain) violation(`taken from ${owner} while it ran`)
      else if (!isRescue && owner !== step.by.split(' ')[0]) violation(`${step.by} has settled what ${owner} holds`)
      else if (step.to === 'failed') violation('failed')
    }
    checkRuns(told, violation)
  }

  /**
   * @param {readonly Entry[]} told
   * @param {(what: string) => void} violation
   */
  function checkRuns(told, violation) {
    let isTold = false
    /** @type {Entry | null} */
    let ran = null
    for (const entry of told) {
      if (entry.did === 'told') isTold = true
      if (entry.did === 'ran') ran = entry
      if (entry.did !== 'run') continue
      if (isTold) violation(`ran in ${entry.by} after it was told as acked`)
      if (ran === null || ran.version !== entry.version) continue
      figures.again += 1
      if (!isExplained(ran, entry)) violation(`ran again in ${entry.by}, and nothing had happened to ${ran.by}`)
    }
  }

  /**
   * @param {Entry} ran
   * @param {Entry} again
   */
  function isExplained(ran, again) {
    const life = lifeOf.get(ran.by)
    const ofLane = meddled.filter(({ name }) => name === ran.by).map(({ harm }) => harm)
    const harms = [...(life?.harms ?? []), ...(life?.wayHarms ?? []), ...restarts, ...ofLane]
    return harms.some(({ from, to }) => from - 200 <= again.ms && ran.ms <= to + slackMs)
  }
}

/** @param {Step} step */
function line({ at, from, to, by, statement, workerId, version, leaseFrom, leaseTo }) {
  return (
    `    ${new Date(at).toISOString().slice(11, 23)} ${from ?? 'new'} -> ${to}, by ${by} (${statement}), ` +
    `worker ${workerId}, version ${version}, lease ${leaseFrom} -> ${leaseTo}`
  )
}
