import type { Ending, Settled, Settlement } from '../../src/consume/settle/ending.js'
import type { Answers } from '../../src/consume/settle/pending.js'
import { createSettler } from '../../src/consume/settle/settler.js'

export function settlement(id: string, ending: Ending = { is: 'acked' }, ackedInTransaction = false): Settlement {
  return { id, lease: '7', workerId: '5', attempt: 1, ending, ackedInTransaction }
}

export const error = { name: 'Error', message: 'no', failedBy: 'exhausted', attempt: 1 } as const
export const failed: Ending = { is: 'failed', error }
export const archived: Ending = { is: 'archived', result: '1' }
export const waiting: Extract<Ending, { is: 'waiting' }> = {
  is: 'waiting',
  delayMs: 5,
  keptAttempt: true,
  error,
  progress: null,
}
export const durable: Settled = { is: 'durable', runAt: null }

export function settlerUnderTest(
  write: (batch: readonly Settlement[]) => Promise<Answers>,
  isHeld = () => false,
  writeNone = async () => {},
  random = () => 0.5,
) {
  const errors: Error[] = []
  const refused: string[] = []
  const settler = createSettler({
    write,
    writeNone,
    isHeld,
    onError: (error) => errors.push(error),
    onRefused: ({ id }, { message }, whatNow) => refused.push(`${id} ${whatNow}: ${message}`),
    random,
  })
  return { errors, refused, settler }
}

export function databaseError(code: string): Error {
  return Object.assign(new Error(`code ${code}`), { code })
}

/** Everything that needs no timer has happened. */
export async function turns(): Promise<void> {
  for (let i = 0; i < 5; i += 1) await turn()
}

export function turn(): Promise<unknown> {
  return new Promise((resolve) => setImmediate(resolve))
}
