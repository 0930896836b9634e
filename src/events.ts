import { AsyncResource } from 'node:async_hooks'
import { types } from 'node:util'
import createDebug from 'debug'
import { functionOf, hintFor, knownKeys, signalOf } from './checks.js'
import { BugleError, describe, toError } from './errors.js'
import { createEventStream, type EventStream } from './event-stream.js'
import type { StopReport } from './stop-report.js'

const log = createDebug('bugle:events')

/** Common to every event. `queue` is null where the event belongs to the whole instance. */
export interface EventData<Queue extends string = string> {
  readonly queue: Queue | null
}

/** Common to the events about a job. */
export interface JobEvent<Queue extends string = string> {
  readonly queue: Queue
  readonly id: string
  readonly kind: string | null
  readonly attempt: number
  readonly workerId: string
}

/** Whether notifications arrive. */
export type ListenerHealth =
  /** Not proven yet: at start. */
  | 'connecting'
  /** Listening, and an echo has come back within the last seconds: notifications arrive. */
  | 'live'
  /** Not listening: sweeps every second do the work until it is live again. */
  | 'polling'
  /** Nothing to listen for. */
  | 'stopped'

/** Why a job is failed. */
export type FailureCause =
  /** Its handler rejected it. */
  | 'rejected'
  /** Its last attempt threw, or asked for a retry. */
  | 'exhausted'
  /**
   * Its payload was refused by schema or codec, its result or progress is nothing that JSON can hold, or the database
   * refuses to store its error.
   */
  | 'invalid'
  /** No handler for its kind, and the consumer has `unknownKinds: 'fail'`. */
  | 'no-handler'
  /** It was cancelled while it ran, and did not succeed. */
  | 'cancelled'
  /** Its process died under it too often: `maxCrashes`, or its own `maxAttempts`. */
  | 'crashed'

/** Why a handler's signal was aborted: `signal.reason.code`. */
export type AbortCode =
  /** The consumer stops, and its grace is over. */
  | 'SHUTDOWN'
  /** The job was cancelled. */
  | 'CANCELLED'
  /** The run is longer than its `timeoutMs`. */
  | 'TIMEOUT'
  /** The worker was given up by others, and the job with it: they may run it by now. */
  | 'LEASE_LOST'

/** Why a consumer waits without its lock. */
export type UnprotectedReason =
  /** Somebody holds the queue's lock exclusively, or the server refused it. */
  | 'blocked'
  /** This worker holds 200 such locks. */
  | 'limit'
  /** The control session is lost, and not back yet. */
  | 'down'

/** Where a callback of the user's went wrong. */
export type CallbackPlace =
  /** It threw. */
  | 'listener'
  | 'onFailed'
  | 'retryStrategy'
  /** It made an outcome and did not return it, or returned what only looks like one: its job was acked. */
  | 'handler'

/** `Queue`: the names of the instance's queues. */
export interface BugleEvents<Queue extends string = string> {
  /**
   * A job was claimed, and its run begins. `waitMs`: from when the job could run to its claim, by the database's clock.
   */
  'job:started': JobEvent<Queue> & { readonly waitMs: number }
  /** The ack is durable. `runMs`: the handler's time. */
  'job:acked': JobEvent<Queue> & { readonly runMs: number }
  /**
   * The run failed, and the job waits for its next one. `retriesLeft` after that: 0: it is the last; Infinity: no
   * limit. `runMs`: the handler's time.
   */
  'job:retrying': JobEvent<Queue> & {
    readonly error: Error
    readonly retryAt: Date
    readonly retriesLeft: number
    readonly runMs: number
  }
  /**
   * The failure is durable. `runMs`: the handler's time; null: its process died under it, or it was cancelled before it
   * began.
   */
  'job:failed': JobEvent<Queue> & {
    readonly error: Error
    readonly cause: FailureCause
    readonly runMs: number | null
  }
  /** The run ended with `partial`: its progress is durable, and the next run waits for that moment. */
  'job:partial': JobEvent<Queue> & { readonly runAt: Date }
  /** The run ended with `release`: the job is back in the queue, attempt given back. */
  'job:released': JobEvent<Queue>
  /**
   * The run ended because we had aborted it (a stop, a lost lease): the job is back in the queue, attempt given back.
   */
  'job:interrupted': JobEvent<Queue> & { readonly reason: AbortCode }
  /** The run has passed its `timeoutMs`: its signal was aborted; its slot is held until the handler returns. */
  'job:timeout': JobEvent<Queue> & { readonly timeoutMs: number }
  /** The handler goes on, long after its signal was aborted. `ageMs`: since its claim. */
  'job:stuck': JobEvent<Queue> & { readonly reason: AbortCode; readonly ageMs: number }
  /** An outcome came too late: the job's lease was no longer ours, and nothing was changed. */
  'job:stale': JobEvent<Queue> & { readonly lease: string }
  'consumer:started': { readonly queue: Queue; readonly concurrency: number }
  /**
   * `graceMs`: until running handlers are aborted; `forced`: now, and nothing is waited for. Again when the stop is
   * shortened.
   */
  'consumer:stopping': { readonly queue: Queue; readonly graceMs: number; readonly forced: boolean }
  'consumer:stopped': { readonly queue: Queue; readonly report: StopReport }
  'listener:health': EventData<Queue> & { readonly from: ListenerHealth; readonly to: ListenerHealth }
  /**
   * The database cannot be reached, or takes no writes. Emitted once an outage; everything goes on by itself when it is
   * back. Where the server has no slot for one more connection, those that are open go on meanwhile.
   */
  'database:down': EventData<Queue> & { readonly error: Error }
  /** Everything that was refused gets through again. */
  'database:up': EventData<Queue> & { readonly downMs: number }
  /**
   * Everything of this instance is on another server from now on: after a failover, or where an address or a list of
   * hosts leads elsewhere. `from`, `to`: host, port, timeline and system identifier, as a text for an operator.
   */
  'database:moved': EventData<Queue> & { readonly from: string; readonly to: string }
  /**
   * A former primary takes writes, and was refused, since a newer timeline of the same system was seen: what is written
   * there by others is lost. Emitted once for each such server.
   */
  'database:outdated': EventData<Queue> & { readonly error: Error }
  /**
   * The connection leads to two systems, and both take writes. Everything of this instance stays on one, and sessions
   * that find the other one are refused; it changes over seldom (`database:moved`). Emitted once until it does.
   */
  'database:split': EventData<Queue> & { readonly error: Error }
  /**
   * A claim, or what a consumer needs around it, failed; it is tried again. With the code `JOB_REFUSED`: the database
   * refuses to write one job, and all others go on.
   */
  'claim:error': { readonly queue: Queue; readonly error: Error }
  /**
   * This consumer cannot sleep under its lock, and lives by sweeps every second until it can.
   */
  'consumer:unprotected': {
    readonly queue: Queue
    readonly reason: UnprotectedReason
    /** Of the backend that is in the way, if it was seen. */
    readonly pid: number | null
  }
  /**
   * This worker has given back the jobs of one that is dead, or that had to be given up; `deadWorkerId` '0': jobs that
   * were running without a worker, as somebody has written them.
   */
  'worker:rescued': EventData<Queue> & { readonly deadWorkerId: string; readonly jobs: number }
  /** This worker was given up by others, and its handlers aborted; it goes on under a new id. */
  'worker:lost': EventData<Queue> & { readonly workerId: string; readonly newWorkerId: string }
  /**
   * Somebody holds a lock on this worker's row or its table, so it cannot confirm its presence there. While its
   * presence lock is seen it goes on, for `hungAfterMs` at most; then it claims nothing more. Emitted once, until it
   * can again.
   */
  'worker:blocked': EventData<Queue> & {
    readonly workerId: string
    /** Of the backend that is in the way, if it was seen; 0: a prepared transaction. */
    readonly pid: number | null
  }
  /** The event loop was blocked for so long; nothing is claimed until it runs freely again. */
  'worker:lag': EventData<Queue> & { readonly ms: number }
  /** Something of the user's threw where nothing may throw; or a handler did not give the outcome that it made. */
  'callback:error': EventData<Queue> & { readonly where: CallbackPlace; readonly error: Error }
}

/** The name of an event. */
export type BugleEventName = keyof BugleEvents

/** All names, to refuse others: an object, so that the compiler finds one that is missing. */
const eventNames: { readonly [Name in BugleEventName]: true } = {
  'job:started': true,
  'job:acked': true,
  'job:retrying': true,
  'job:failed': true,
  'job:partial': true,
  'job:released': true,
  'job:interrupted': true,
  'job:timeout': true,
  'job:stuck': true,
  'job:stale': true,
  'consumer:started': true,
  'consumer:stopping': true,
  'consumer:stopped': true,
  'listener:health': true,
  'database:down': true,
  'database:up': true,
  'database:moved': true,
  'database:outdated': true,
  'database:split': true,
  'claim:error': true,
  'consumer:unprotected': true,
  'worker:rescued': true,
  'worker:lost': true,
  'worker:blocked': true,
  'worker:lag': true,
  'callback:error': true,
}

export const allEventNames = Object.keys(eventNames) as readonly BugleEventName[]

/**
 * Called with an event's data. What it returns is ignored, but for a promise that rejects: `callback:error`, as for a
 * throw.
 */
export type BugleListener<Name extends BugleEventName, Queue extends string = string> = (
  data: BugleEvents<Queue>[Name],
) => unknown

/** What `on` and `once` return: call it, or let `using` do so, and the listener is called no more. */
export interface Unsubscribe extends Disposable {
  (): void
}

/** What `on` and `once` take where they are given no listener. */
export interface EventOptions {
  /** Ends the wait. */
  readonly signal?: AbortSignal | undefined
}

/**
 * How to listen, on the instance.
 *
 * `on` and `once` of `node:events` take the instance as well. They listen for 'error' beside, which no event of ours is
 * called: such a listener is taken, and never called.
 */
export interface EventSource<Queue extends string = string> {
  /**
   * Call a listener at every event of that name.
   *
   * @returns what ends that
   * @throws BugleError `INVALID_OPTION` for a name that is none
   */
  on<Name extends BugleEventName>(name: Name, listener: BugleListener<Name, Queue>): Unsubscribe
  /**
   * The events of that name from now on, for `for await`. What comes while the loop's body runs gathers. The loop ends
   * when `signal` aborts, and once the instance is closed.
   *
   * @throws BugleError `INVALID_OPTION`
   */
  on<Name extends BugleEventName>(name: Name, options?: EventOptions): EventStream<BugleEvents<Queue>[Name]>
  /** Call a listener at the next event of that name. @returns what ends that */
  once<Name extends BugleEventName>(name: Name, listener: BugleListener<Name, Queue>): Unsubscribe
  /**
   * The data of the next event of that name.
   *
   * @throws BugleError `CLOSED`: the instance was closed first; the signal's reason
   */
  once<Name extends BugleEventName>(name: Name, options?: EventOptions): Promise<BugleEvents<Queue>[Name]>
  /** Call it no more. */
  off<Name extends BugleEventName>(name: Name, listener: BugleListener<Name, Queue>): void
  /** As `off`, under the name by which `node:events` calls it. */
  removeListener<Name extends BugleEventName>(name: Name, listener: BugleListener<Name, Queue>): void
}

export interface Events extends EventSource {
  emit<Name extends BugleEventName>(name: Name, data: BugleEvents[Name]): void
  /** Whether anybody listens: on hot paths, ask before building the data. */
  has(name: BugleEventName): boolean
  /**
   * The instance is closed: loops end, and whoever waits for one event hears the error, from then on at once. Listeners
   * stay.
   */
  end(error: Error): void
}

/**
 * An emitter whose listeners cannot hurt: one that throws, or whose promise rejects, becomes `callback:error`,
 * and the others are called all the same. Node's own emitter would let the exception out into our machinery. Each is
 * called in an async resource of its own, so a store that it enters (`AsyncLocalStorage.enterWith`) ends with it.
 */
export function createEvents(): Events {
  type AnyListener = (data: never) => unknown
  type Entry = { readonly listener: AnyListener; readonly once: boolean }
  const listeners = new Map<BugleEventName, Entry[]>()
  /** Loops and waits that the instance's close ends. */
  const endings = new Set<(error: Error) => void>()
  let closed: Error | null = null

  function add(name: BugleEventName, listener: AnyListener, once: boolean): Unsubscribe {
    demandName(name)
    functionOf(`the listener of ${describe(name)}`, listener)
    const entry = { listener, once }
    // A new array each time: a listener that adds or removes must not disturb the emit in progress.
    listeners.set(name, [...(listeners.get(name) ?? []), entry])
    const unsubscribe = (): void => remove(name, (other) => other === entry)
    return Object.assign(unsubscribe, { [Symbol.dispose]: unsubscribe })
  }

  function streamOf(name: BugleEventName, options: EventOptions): EventStream<unknown> {
    demandName(name)
    const signal = signalOption(options)
    const { stream, end, stop } = createEventStream<unknown>(
      (listener) => add(name, listener, false),
      signal,
      () => endings.delete(end),
    )
    endings.add(end)
    if (signal?.aborted || closed !== null) stop()
    return stream
  }

  async function next(name: BugleEventName, options: EventOptions): Promise<unknown> {
    demandName(name)
    const signal = signalOption(options)
    signal?.throwIfAborted()
    if (closed !== null) throw closed
    return new Promise<unknown>((resolve, reject) => {
      const heard = (data: unknown): void => over(() => resolve(data))
      const aborted = (): void => ended(signal?.reason)
      const ended = (reason: unknown): void => over(() => reject(reason))
      const unsubscribe = add(name, heard, true)
      signal?.addEventListener('abort', aborted)
      endings.add(ended)
      function over(tell: () => void): void {
        unsubscribe()
        signal?.removeEventListener('abort', aborted)
        endings.delete(ended)
        tell()
      }
    })
  }

  function remove(name: BugleEventName, isMeant: (entry: Entry) => boolean): void {
    const kept = (listeners.get(name) ?? []).filter((entry) => !isMeant(entry))
    if (kept.length === 0) listeners.delete(name)
    else listeners.set(name, kept)
  }

  function broken(name: BugleEventName, thrown: unknown): void {
    const error = toError(thrown)
    log('a listener of %s threw: %s', name, error.message)
    // A listener of callback:error that throws is where the telling ends.
    if (name !== 'callback:error') events.emit('callback:error', { queue: null, where: 'listener', error })
  }

  const off: Events['off'] = (name, listener) => remove(name, (entry) => entry.listener === listener)
  // By the second argument, as the types say. One that is there and undefined was meant to be a listener.
  const on = (name: BugleEventName, ...given: [(AnyListener | EventOptions)?]) => {
    const options = optionsIn(given)
    return options === null ? add(name, given[0] as AnyListener, false) : streamOf(name, options)
  }
  const once = (name: BugleEventName, ...given: [(AnyListener | EventOptions)?]) => {
    const options = optionsIn(given)
    if (options === null) return add(name, given[0] as AnyListener, true)
    const coming = next(name, options)
    // Whoever does not wait for it has nothing to hear.
    coming.catch(() => {})
    return coming
  }

  const events: Events = {
    on: on as Events['on'],
    once: once as Events['once'],
    off,
    removeListener: off,
    has: (name) => listeners.has(name),
    end(error) {
      closed ??= error
      for (const end of [...endings]) end(error)
    },
    emit(name, data) {
      for (const entry of listeners.get(name) ?? []) {
        const { listener, once } = entry
        if (once) remove(name, (other) => other === entry)
        try {
          const call = listener as (data: unknown) => unknown
          const returned = new AsyncResource('BugleListener').runInAsyncScope(call, undefined, data)
          if (types.isPromise(returned)) returned.catch((thrown) => broken(name, thrown))
        } catch (thrown) {
          broken(name, thrown)
        }
      }
    },
  }
  return events
}

/** @throws BugleError `INVALID_OPTION`, with the nearest name */
function demandName(name: string): void {
  if (Object.hasOwn(eventNames, name) || name === 'error') return
  throw new BugleError('INVALID_OPTION', `there is no event ${describe(name)}; ${hintFor(String(name), allEventNames)}`)
}

/** null: a listener was given. */
function optionsIn(given: readonly unknown[]): EventOptions | null {
  if (given.length === 0) return {}
  const [first] = given
  return typeof first === 'object' && first !== null ? first : null
}

function signalOption(options: EventOptions): AbortSignal | undefined {
  knownKeys('event options', options, ['signal'])
  return signalOf(options.signal)
}
