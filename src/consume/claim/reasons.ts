import { setImmediate as nextTurn } from 'node:timers/promises'
import { createWakeup } from '../../wakeup.js'
import type { LoopState, Mode } from './loop-state.js'

/**
 * Why the loop shall claim, and its waits for that. Made before the parts that call it, and before the dispatcher,
 * which waits: so none of them has to know the dispatcher.
 *
 * One flag says that there is a reason. It is cleared *before* a claim is sent (`answer`), so a notification that lands
 * during the claim leaves it up, and one more claim follows.
 */
export interface Reasons {
  /** There may be jobs: a sweep found some, a session is back. It ends every wait but that after an error. */
  raise(): void
  /** There may be jobs, says a notification. It ends neither a linger nor a wait after an error. */
  wakeUp(): void
  /** The way to the database is free again: it ends a wait of whatever kind. */
  hurry(): void
  /** A job may be wanted again: a slot is free, or will be with the next claim. Called twice per job. */
  slotFreed(): void
  /** Called at each `slotFreed`. */
  onSlotFreed(listener: () => void): void
  /** Something else has changed that the loop may wait for (a pause, the stop): it looks again. */
  look(): void
  readonly isRaised: boolean
  /** A claim is about to be sent: for every reason until now. */
  answer(): void
  /** The loop's wait in that mode, for so many ms at most. */
  rest(mode: Mode, ms: number, endsWith: EndOfRest): Promise<void>
  /** The loop's wait for a slot. */
  freeSlot(): Promise<void>
}

/** What ends a wait before its time. */
export type EndOfRest =
  /** Any reason to claim. */
  | 'notification'
  /** Any but a notification. */
  | 'call'
  /** The stop, or a pause in this process; or that the way to the database is free. These end the others as well. */
  | 'stop'

export function createReasons(state: LoopState): Reasons {
  const change = createWakeup()
  const slots = createWakeup()
  let isRaised = false
  /** By something else than a notification. */
  let isCalled = false
  let isHurried = false
  let isSlotFree = false
  let onSlotFreed = (): void => {}

  function wakeUp(): void {
    isRaised = true
    change.look()
  }

  function raise(): void {
    isCalled = true
    wakeUp()
  }

  function freeSlot(): void {
    isSlotFree = true
    slots.look()
  }

  return {
    raise,
    wakeUp,
    hurry() {
      isHurried = true
      raise()
    },
    slotFreed() {
      freeSlot()
      onSlotFreed()
    },
    onSlotFreed(listener) {
      onSlotFreed = listener
    },
    look() {
      freeSlot()
      change.look()
    },
    get isRaised() {
      return isRaised
    },
    answer() {
      isRaised = false
      isCalled = false
    },
    async rest(mode, ms, endsWith) {
      isHurried = false
      state.enter(mode)
      await change.wait(() => {
        if (state.isStopping || state.isPaused || isHurried) return true
        return endsWith === 'notification' ? isRaised : endsWith === 'call' && isCalled
      }, ms)
      state.enter('awake')
    },
    async freeSlot() {
      isSlotFree = false
      state.enter('full')
      await slots.wait(() => isSlotFree)
      // Handlers that end in the same turn of the event loop free their slots together: one claim for all of them.
      await nextTurn()
      state.enter('awake')
    },
  }
}
