import type { Bugle } from '../bugle.js'
import { milliseconds } from '../checks.js'
import type { Duration } from '../duration.js'
import { BugleError, describe } from '../errors.js'
import { allEventNames, type BugleEventName, type BugleEvents, type EventSource } from '../events.js'

/** One event as it came: its name and its data. */
export type CollectedEvent<Name extends BugleEventName = BugleEventName, Queue extends string = string> = {
  [Each in Name]: { readonly name: Each; readonly data: BugleEvents<Queue>[Each] }
}[Name]

/** How long to wait. */
export interface WaitOptions {
  /** @defaultValue 5000 */
  readonly timeoutMs?: Duration | undefined
}

/** Events of one instance, in the order in which they came. */
export interface CollectedEvents<Name extends BugleEventName = BugleEventName, Queue extends string = string>
  extends Disposable {
  /** All that came so far. */
  readonly all: readonly CollectedEvent<Name, Queue>[]
  /** The data of those of one name. */
  of<Each extends Name>(name: Each): BugleEvents<Queue>[Each][]
  /**
   * The first of that name which matches, and which no call of `next` has returned before: at once where it has come
   * already.
   *
   * @throws BugleError `TIMEOUT` with what has come instead; `CLOSED` after `stop`
   */
  next<Each extends Name>(
    name: Each,
    predicate?: (data: BugleEvents<Queue>[Each]) => boolean,
    options?: WaitOptions,
  ): Promise<BugleEvents<Queue>[Each]>
  /** Collect no more; what is waited for rejects. What came stays. */
  stop(): void
}

interface Entry {
  readonly name: BugleEventName
  readonly data: unknown
}

/**
 * Collect events of an instance from now on.
 *
 * @param names - which; default: all
 * @throws BugleError `INVALID_OPTION`
 */
export function collectEvents<Queues extends object, Context, Name extends BugleEventName = BugleEventName>(
  bugle: Bugle<Queues, Context>,
  names: readonly Name[] = allEventNames as readonly Name[],
): CollectedEvents<Name, keyof Queues & string> {
  const source = bugle as unknown as EventSource
  const all: Entry[] = []
  const returned = new Set<Entry>()
  const waiting = new Set<() => void>()
  let isStopped = false

  function lookAgain(): void {
    for (const look of [...waiting]) look()
  }

  const removals = [...new Set(names)].map((name) => {
    const listener = (data: unknown): void => {
      all.push({ name, data })
      lookAgain()
    }
    source.on(name, listener)
    return () => source.off(name, listener)
  })

  function next(name: BugleEventName, predicate: (data: never) => boolean = () => true, options: WaitOptions = {}) {
    const timeoutMs = waitTime(options)
    // One that is not collected would never come.
    if (!names.includes(name as Name)) {
      const rule = `next waits for an event that is collected (${names.join(', ')})`
      return Promise.reject(new BugleError('INVALID_OPTION', `${rule}; got ${describe(name)}`))
    }
    const coming = new Promise<unknown>((resolve, reject) => {
      const timer = setTimeout(() => end(() => reject(late())), timeoutMs)
      function late(): BugleError {
        const found = all.length === 0 ? 'nothing' : countsOf(all)
        return new BugleError(
          'TIMEOUT',
          `no event ${name} that matches came within ${timeoutMs} ms; there came: ${found}`,
        )
      }
      function end(tell: () => void): void {
        clearTimeout(timer)
        waiting.delete(look)
        tell()
      }
      function look(): void {
        try {
          const found = all.find((one) => one.name === name && !returned.has(one) && predicate(one.data as never))
          if (found !== undefined) {
            returned.add(found)
            end(() => resolve(found.data))
          } else if (isStopped) {
            end(() =>
              reject(new BugleError('CLOSED', `no event ${name} that matches came before the collecting was stopped`)),
            )
          }
        } catch (error) {
          end(() => reject(error))
        }
      }
      waiting.add(look)
      look()
    })
    // A test that has failed before it came to wait has its own error to tell.
    coming.catch(() => {})
    return coming
  }

  const collected = {
    all,
    of: (name: BugleEventName) => all.filter((one) => one.name === name).map(({ data }) => data),
    next,
    stop() {
      isStopped = true
      for (const remove of removals) remove()
      lookAgain()
    },
    [Symbol.dispose]: () => collected.stop(),
  }
  return collected as unknown as CollectedEvents<Name, keyof Queues & string>
}

/** @throws BugleError `INVALID_OPTION` */
export function waitTime({ timeoutMs = 5_000 }: WaitOptions): number {
  return Math.min(milliseconds('timeoutMs', timeoutMs), 2_147_483_647)
}

/** `job:started (2), job:acked`, in the order in which they first came. */
function countsOf(entries: readonly Entry[]): string {
  const counts = new Map<string, number>()
  for (const { name } of entries) counts.set(name, (counts.get(name) ?? 0) + 1)
  return [...counts].map(([name, count]) => (count === 1 ? name : `${name} (${count})`)).join(', ')
}
