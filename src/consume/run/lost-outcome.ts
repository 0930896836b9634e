import { ack, type Outcome, outcomesMade } from '../../outcome.js'

/**
 * Outcomes that a handler meant and did not give: its job is acked all the same, and so gone. Both mistakes are told.
 *
 * - **Made and not returned**: `reject('no such user')` without its `return`. It is noticed where a run has returned
 *   nothing and outcomes were made meanwhile, while no other handler ran in this process: of runs that overlap, nothing
 *   tells whose outcome it was. To know it the async context of every promise would have to be tracked, which costs
 *   more than a short handler. Beside a handler that does not wait for anything no other runs.
 * - **A likeness**: an outcome that went through JSON or a structured clone (a worker thread, a child process) has lost
 *   the mark that makes it one. An object is taken for that if its `type` is that of an outcome and it has no other
 *   properties than that outcome.
 */

let running = 0
/** Outcomes that had been made when the run began that is alone; null: others have run beside it. */
let madeBefore: number | null = null

/** A handler begins. @returns how many outcomes had been made before */
export function runBegins(): number {
  const made = outcomesMade()
  running += 1
  madeBefore = running === 1 ? made : null
  return made
}

/** A handler goes on long after its abort, perhaps for ever: from now on it counts as ended. */
export function runIsStuck(): void {
  running -= 1
}

/**
 * The handler has ended.
 *
 * @param outcome - what its run ended with
 * @param before - what `runBegins` returned, of a handler that did not wait for anything; of others null
 * @param wasStuck - whether it counts as ended already
 * @returns what was lost, as a part of a sentence about the handler; null: nothing that is known of
 */
export function runEnds(outcome: Outcome, before: number | null, wasStuck: boolean): string | null {
  if (wasStuck) return null
  running -= 1
  if (outcome.type !== 'ack') return null
  if (outcome === nothing) {
    const made = before ?? madeBefore
    if (made === null || outcomesMade() === made) return null
    return 'made an outcome and returned nothing: write `return reject(…)`, or whatever it was'
  }
  if (outcome.result === undefined || !likenesses.has(outcome)) return null
  return (
    'returned an object that looks like an outcome and is none, since outcomes do not survive JSON or a structured ' +
    'clone: make the outcome where the handler returns it; or return ack(…) with the object, if it is a result'
  )
}

/** Of a run that has returned nothing. */
const nothing: Outcome = Object.freeze({ ...ack() })
const likenesses = new WeakSet<Outcome>()

/** The ack that a handler means by whatever it returns that is no outcome. */
export function impliedAck(returned: unknown): Outcome {
  if (returned === undefined) return nothing
  const outcome = ack(returned)
  if (isLikeness(returned)) likenesses.add(outcome)
  return outcome
}

const propertiesOf: Readonly<Record<string, readonly string[]>> = {
  reject: ['type', 'reason'],
  retry: ['type', 'delayMs', 'reason'],
  release: ['type', 'delayMs'],
  partial: ['type', 'progress', 'delayMs'],
}

function isLikeness(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  try {
    const { type, delayMs } = value as { type?: unknown; delayMs?: unknown }
    if (typeof type !== 'string' || !Object.hasOwn(propertiesOf, type)) return false
    const properties = propertiesOf[type] ?? []
    const hasDelay = typeof delayMs === 'number' || type === 'reject' || type === 'retry'
    return hasDelay && Object.keys(value).every((key) => properties.includes(key))
  } catch {
    return false // A proxy or a getter refused to say.
  }
}
