import { connectionError, endOf, plannedError } from './plan.mjs'

/**
 * @typedef {import('./ledger.mjs').Step} Step
 * @typedef {import('./ledger.mjs').Run} Run
 * @typedef {import('./workers.mjs').Life} Life
 * @typedef {import('./workers.mjs').Harm} Harm
 * @typedef {import('./producers.mjs').Put} Put
 *
 * @typedef {object} Evidence
 * @property {readonly Put[]} puts
 * @property {readonly Step[]} steps
 * @property {readonly Run[]} runs
 * @property {readonly { id: string, name: string }[]} workers
 * @property {readonly Life[]} lives
 * @property {readonly Harm[]} restarts of the server
 * @property {readonly import('./workers.mjs').End[]} ends as the workers told them
 */

/**
 * What makes a process look dead to others. A restart does not, nor does a killed backend: survivors must not be
 * robbed. Nor does a pause of less than hungAfterMs, as its presence lock is held: unless it meets another harm, which
 * takes the lock away.
 */
const deadly = ['kill', 'hang', 'stop', 'freeze', 'cut']
/** How long after such a harm its consequences may come: the verdict, a pass of the rescuer, a busy machine. */
const deadlySlackMs = 5_000
/** The same for an answer that was lost: a statement's deadline, and two heartbeats. */
const lostAnswerSlackMs = 20_000
/**
 * How long a job that has not begun is held, at least, before it is given back (src/consume/claim/look-ahead.ts); and
 * with it all that is held (src/consume/run/slots.ts).
 */
const patienceMs = 50

/**
 * Hold every step of every job against what was put, what ran and what was done to the processes.
 *
 * @param {Evidence} evidence
 */
export function check({ puts, steps, runs, workers, lives, restarts, ends }) {
  /** @type {string[]} */
  const violations = []
  const lifeByName = new Map(lives.map((life) => [life.name, life]))
  const lifeOf = new Map(workers.map(({ id, name }) => [id, lifeByName.get(name)]))
  const stepsOf = groupBy(steps, ({ token }) => token)
  const runsOf = groupBy(runs, ({ token }) => token)
  const endsOf = groupBy(ends, ({ id }) => id)
  const impatient = impatientTransactions()
  const figures = {
    fates: /** @type {Record<string, number>} */ ({}),
    unknownThere: 0,
    claims: 0,
    runs: runs.length,
    rescued: 0,
    givenBack: 0,
    heldTooLong: 0,
    lostConnections: 0,
    mistold: 0,
    rescueMs: /** @type {number[]} */ ([]),
  }
  /** @type {Map<Life, number>} */
  const lastRescueAt = new Map()

  for (const put of puts) checkPut(put)
  for (const life of lives) {
    const at = lastRescueAt.get(life)
    const killed = life.harms.find(({ kind }) => kind === 'kill')
    if (killed !== undefined && at !== undefined) figures.rescueMs.push(at - killed.from)
  }
  const tokens = new Set(puts.map(({ plan }) => plan.token))
  for (const { token } of steps) if (!tokens.has(token)) violations.push(`a job that nobody has put: token ${token}`)
  return { violations, figures, lastStories: lastStories() }

  /** Those in which a job was given back that had been held for too long. */
  function impatientTransactions() {
    const transactions = new Set()
    for (const [token, all] of stepsOf) {
      let claimedAt = 0
      for (const step of all) {
        if (step.to === 'running') claimedAt = step.at
        const wasHeld = step.attemptTo === (step.attemptFrom ?? 0) - 1 && step.at - claimedAt >= patienceMs
        if (wasHeld && !hasBegun(token, claimedAt, step)) transactions.add(step.tx)
      }
    }
    return transactions
  }

  /**
   * Whether it has run under the claim that this step ends. A claim that gave its attempt back, and the next one by the
   * same worker, have the same number.
   *
   * @param {number} token
   * @param {number} claimedAt
   * @param {Step} step
   */
  function hasBegun(token, claimedAt, step) {
    return (runsOf.get(token) ?? []).some(
      ({ workerId, attempt, at }) =>
        workerId === step.workerId && attempt === step.attemptFrom && claimedAt <= at && at <= step.at,
    )
  }

  /** For the log: what held up the end. */
  function lastStories() {
    const last = [...stepsOf].map(([token, all]) => ({ token, all, at: all.at(-1)?.at ?? 0 }))
    last.sort((one, other) => other.at - one.at)
    return last.slice(0, 5).map(({ token, all }) => `token ${token}\n${story(all, runsOf.get(token) ?? [])}`)
  }

  /** @param {Put} put */
  function checkPut({ plan, fate, id, way }) {
    const all = stepsOf.get(plan.token) ?? []
    const ran = runsOf.get(plan.token) ?? []
    figures.fates[fate ?? 'none'] = (figures.fates[fate ?? 'none'] ?? 0) + 1
    const about = `job ${all[0]?.job ?? id ?? '?'} (token ${plan.token}, ${plan.mode}, by ${way}, ${fate})`
    /** @param {string} what */
    const violation = (what) => violations.push(`${about}: ${what}\n${story(all, ran)}`)

    if (fate === null) violation('its put was never answered')
    if (all.length === 0) {
      if (fate === 'committed') violation('lost: there was never such a row')
      if (ran.length > 0) violation('ran, and does not exist')
      return
    }
    if (fate === 'rolled-back' || fate === 'refused') return violation('exists')
    if (fate === 'unknown') figures.unknownThere += 1
    checkSteps(plan, all, ran, violation)
  }

  /**
   * @param {import('./plan.mjs').Plan} plan
   * @param {readonly Step[]} all
   * @param {readonly Run[]} ran
   * @param {(what: string) => void} violation
   */
  function checkSteps(plan, all, ran, violation) {
    const { mode } = plan
    /** @type {string | null} */
    let state = null
    let crashes = 0
    let archived = 0
    let claimedAt = 0
    /** @type {Map<string, number>} */
    const claims = new Map()
    /** @type {(workerId: string | null, attempt: number | null) => number} */
    const runsUnder = (workerId, attempt) =>
      ran.filter((run) => run.workerId === workerId && run.attempt === attempt).length

    for (const step of all) {
      if (step.to === 'archived') {
        archived += 1
        if (archived > 1 || step.from !== 'insert') violation('settled twice: archived again')
        if (state !== 'running' && state !== 'deleted') violation(`archived while it was ${state}`)
        if (runsUnder(step.workerId, step.attemptFrom) === 0) violation('settled by an attempt that has not run')
        continue
      }
      if (step.from !== state) violation(`became ${step.to} from ${step.from}, and had been ${state}`)
      if (step.from !== null && step.crashesFrom !== crashes) violation('its count of crashes has changed in between')
      if (state === null || state === 'ready' || state === 'scheduled') checkClaim(step)
      else if (state === 'running') checkEnd(step)
      else violation(`became ${step.to} when it was ${state}`)
      state = step.to
      crashes = step.crashesTo ?? crashes
    }

    const end = state === 'deleted' ? (archived === 1 ? 'archived' : 'gone') : state
    if (end !== endOf(mode)) violation(`must end ${endOf(mode)}, and is ${end}`)
    for (const [key, { length: count }] of groupBy(ran, ({ workerId, attempt }) => `${workerId} ${attempt}`)) {
      if (count > (claims.get(key) ?? 0)) violation(`ran ${count} times by ${claims.get(key) ?? 0} claims: ${key}`)
    }
    if (mode === 'tx' && ran.length !== 1) violation(`has ${ran.length} effects of a handler that acks with its effect`)
    for (const told of endsOf.get(all[0]?.job ?? '') ?? []) {
      if (told.as !== end) violation(`${told.workerId} told attempt ${told.attempt} as ${told.as}`)
      const last = all.findLast(({ from }) => from === 'running')
      // Where an answer was lost, a row that is gone counts as one's own; otherwise two must not both believe it.
      if (last !== undefined && last.workerId === told.workerId && last.attemptFrom === told.attempt) continue
      figures.mistold += 1
      if (!isExplained(lifeOf.get(told.workerId), last?.at ?? 0, null, lostAnswerSlackMs)) {
        violation(`${told.workerId} told attempt ${told.attempt} as ${told.as}, and it was another's`)
      }
    }

    /** @param {Step} step */
    function checkClaim(step) {
      if (step.to === 'ready' || step.to === 'scheduled') return
      if (step.to !== 'running') return violation(`became ${step.to} without being claimed`)
      figures.claims += 1
      const key = `${step.workerId} ${step.attemptTo}`
      claims.set(key, (claims.get(key) ?? 0) + 1)
      claimedAt = step.at
      if (BigInt(step.leaseTo ?? 0) <= BigInt(step.leaseFrom ?? 0)) violation('claimed, and its lease has not grown')
      const owner = lifeOf.get(step.workerId ?? '')
      if (owner?.name !== authorOf(step)) violation(`claimed for ${owner?.name} by ${step.by}`)
    }

    /** @param {Step} step */
    function checkEnd(step) {
      const owner = lifeOf.get(step.workerId ?? '')
      if ((step.crashesTo ?? crashes) > crashes) return checkRescue(step, owner)
      if (owner?.name !== authorOf(step)) violation(`${step.by} has settled what ${owner?.name} holds`)
      if (step.to === 'deleted') {
        if (mode === 'tx' && !step.by.endsWith(' handler')) violation('its ack did not come with its effect')
        return
      }
      const hasRun = runsUnder(step.workerId, step.attemptFrom) > 0
      if (step.to === 'failed') {
        if (!hasRun && step.error?.name !== connectionError) violation('failed by an attempt that has not run')
        return
      }
      if (step.attemptTo !== step.attemptFrom) return checkGivenBack(step, owner)
      if (mode === 'partial' && step.error === null) return
      if (step.error?.name === connectionError) {
        figures.lostConnections += 1
        return
      }
      const mayFail = mode === 'throw' || mode === 'retry' || mode === 'exhaust'
      if (!mayFail || !step.error?.message.includes(plannedError))
        violation(`retried for no planned reason: ${step.error?.message}`)
      if (!hasRun) violation('retried after an attempt that has not run')
    }

    /**
     * @param {Step} step
     * @param {Life | undefined} owner
     */
    function checkRescue(step, owner) {
      figures.rescued += 1
      if (owner !== undefined) lastRescueAt.set(owner, Math.max(step.at, lastRescueAt.get(owner) ?? 0))
      if (step.crashesTo !== crashes + 1) violation(`its crashes grew from ${crashes} to ${step.crashesTo}`)
      if (step.to === 'failed' && mode !== 'exhaust') violation('failed by a crash')
      if (BigInt(step.leaseTo ?? 0) <= BigInt(step.leaseFrom ?? 0)) violation('rescued, and its lease has not grown')
      if (!isExplained(owner, step.at, deadly, deadlySlackMs)) {
        violation(`${step.by} has taken it from ${owner?.name}, to which nothing deadly had happened`)
      }
    }

    /**
     * @param {Step} step
     * @param {Life | undefined} owner
     */
    function checkGivenBack(step, owner) {
      figures.givenBack += 1
      if (step.attemptTo !== (step.attemptFrom ?? 0) - 1) violation('its attempts have jumped')
      const hasRun = hasBegun(plan.token, claimedAt, step)
      if (mode === 'release' && hasRun) return
      // Look-ahead that no slot came free for.
      if (!hasRun && impatient.has(step.tx)) {
        figures.heldTooLong += 1
        return
      }
      if (!isExplained(owner, step.at, null, lostAnswerSlackMs)) violation(`${step.by} has given it back for no reason`)
    }
  }

  /**
   * Whether something was done to that process, around that time, that explains what became of its job.
   *
   * @param {Life | undefined} life
   * @param {number} at
   * @param {readonly string[] | null} kinds null: any, a restart of the server too
   * @param {number} slackMs
   */
  function isExplained(life, at, kinds, slackMs) {
    if (life === undefined) return false
    const harms = [...life.harms, ...life.wayHarms, ...restarts]
    /** @param {Harm} harm */
    const meetsAnother = (harm) =>
      harms.some(
        (other) => other !== harm && other.from - deadlySlackMs <= harm.to && harm.from <= other.to + deadlySlackMs,
      )
    return harms.some((harm) => {
      const counts = kinds === null || kinds.includes(harm.kind) || (harm.kind === 'pause' && meetsAnother(harm))
      // A step's time is taken before its commit, a harm's after the order.
      return counts && harm.from - 100 <= at && at <= harm.to + slackMs
    })
  }
}

/** @param {Step} step */
const authorOf = ({ by }) => by.split(' ')[0]

/**
 * @template Key, T
 * @param {readonly T[]} list
 * @param {(one: T) => Key} keyOf
 */
function groupBy(list, keyOf) {
  /** @type {Map<Key, T[]>} */
  const groups = new Map()
  for (const one of list) {
    const group = groups.get(keyOf(one))
    if (group === undefined) groups.set(keyOf(one), [one])
    else group.push(one)
  }
  return groups
}

/**
 * All that is known of a job, in order.
 *
 * @param {readonly Step[]} steps
 * @param {readonly Run[]} runs
 */
function story(steps, runs) {
  const lines = [
    ...steps.map((step) => ({
      at: step.at,
      text:
        `${step.from ?? 'new'} -> ${step.to}, by ${step.by} (${step.statement}), worker ${step.workerId}, ` +
        `lease ${step.leaseFrom} -> ${step.leaseTo}, attempt ${step.attemptFrom} -> ${step.attemptTo}, ` +
        `crashes ${step.crashesFrom} -> ${step.crashesTo}${step.error ? `, ${step.error.message}` : ''}`,
    })),
    ...runs.map((run) => ({
      at: run.at,
      text: `ran, worker ${run.workerId}, attempt ${run.attempt}${run.inTx ? ', in its transaction' : ''}`,
    })),
  ].sort((one, other) => one.at - other.at)
  return lines.map(({ at, text }) => `    ${new Date(at).toISOString().slice(11, 23)} ${text}`).join('\n')
}
