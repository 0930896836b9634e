/** Stopping a server within a bounded time: ask, then insist, then kill. */
import type { ShutdownMode } from './protocol.js'

interface Phase {
  signal: NodeJS.Signals
  waitMs: number
}

// After SIGQUIT the server itself waits 5 s before it kills sessions that do not react, such as stopped ones; a SIGKILL
// of ours before that would leave those behind.
const fast: Phase = { signal: 'SIGINT', waitMs: 4000 }
const immediate: Phase = { signal: 'SIGQUIT', waitMs: 8000 }
const kill: Phase = { signal: 'SIGKILL', waitMs: 2000 }

/** The longest that `shutDown` takes in the modes `fast` and `immediate`. */
export const shutDownMs = fast.waitMs + immediate.waitMs + kill.waitMs

/**
 * End a server, with ever harder signals.
 *
 * @param mode - the signal to begin with
 * @param send - sends a signal to the server's main process
 * @param gone - settled when that process has ended
 * @param smartMs - how long `smart` waits for clients to leave before it becomes `fast`
 * @returns false if even SIGKILL has not ended it
 * @see https://www.postgresql.org/docs/current/server-shutdown.html
 */
export async function shutDown(
  mode: ShutdownMode,
  send: (signal: NodeJS.Signals) => void,
  gone: Promise<unknown>,
  smartMs = 0,
): Promise<boolean> {
  const smart: Phase = { signal: 'SIGTERM', waitMs: smartMs }
  const phases = { smart: [smart, fast, immediate, kill], fast: [fast, immediate, kill], immediate: [immediate, kill] }
  for (const phase of phases[mode]) {
    send(phase.signal)
    if (await isWithin(phase.waitMs, gone)) return true
  }
  return false
}

/** Whether `event` settles in time. */
export async function isWithin(waitMs: number, event: Promise<unknown>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(resolve, waitMs, false)
  })
  try {
    return await Promise.race([
      event.then(
        () => true,
        () => true,
      ),
      late,
    ])
  } finally {
    clearTimeout(timer)
  }
}
