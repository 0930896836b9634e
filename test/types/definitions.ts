/**
 * Checked by `tsc -p test/tsconfig.json`, never run: modules for `bugle work`, and durations.
 */
import {
  type Bugle,
  type Codec,
  createBugle,
  type Duration,
  defineWorker,
  exponential,
  type Kinds,
  type WithCodec,
} from '../../src/index.js'

type Queues = { emails: { to: string }; media: Kinds<{ thumb: { file: string }; probe: { url: string } }> }

export default defineWorker<Queues>({
  queues: {
    emails: async (job, ctx) => {
      job.payload.to.toUpperCase()
      await ctx.bugle.put('emails', { to: 'again' })
    },
    media: { thumb: ({ payload }) => payload.file, probe: ({ payload }) => payload.url },
  },
  options: { emails: { concurrency: 2, timeoutMs: '5m' } },
  bugle: { graceMs: '1m', logger: false },
})

/** A module may serve some of the queues alone. */
export const some = defineWorker<Queues>({ queues: { emails: () => {} } })

export const wrong = defineWorker<Queues>({
  queues: {
    // @ts-expect-error there is no such queue
    mails: () => {},
  },
  // @ts-expect-error there is no such option
  options: { emails: { teamSize: 2 } },
})

/** What is left out may be undefined. */
export const leftOut = defineWorker<Queues>({
  queues: { emails: () => {} },
  options: { emails: undefined },
  bugle: undefined,
})
export const leftOutWhole = defineWorker<Queues>({ queues: { emails: () => {} }, options: undefined })

/** With a codec handlers are given what was put; without one, what JSON makes of it. */
export function coded(codec: Codec): object[] {
  type Reminders = { reminders: { at: Date } }
  return [
    defineWorker<WithCodec<Reminders>>({
      queues: { reminders: ({ payload }) => payload.at.getTime() },
      bugle: { codec },
    }),
    defineWorker<Reminders>({ queues: { reminders: ({ payload }) => payload.at.toUpperCase() } }),
    // @ts-expect-error no codec
    defineWorker<WithCodec<Reminders>>({ queues: {}, bugle: { codec: 'superjson' } }),
  ]
}

/** Without types every queue takes anything. */
export const untyped = defineWorker({ queues: { a: (job) => job.payload, b: { k() {} } } })

export async function durations(bugle: Bugle<Queues>): Promise<void> {
  createBugle({ sweepMs: '1m', rescueAfterMs: 5_000, keep: { failedForMs: '30d', archivedForMs: null } })
  await bugle.put('emails', { to: 'a' }, { delayMs: '1.5h', timeoutMs: 250 })
  await bugle.consume('emails', () => {}, {
    timeoutMs: '90s',
    retryStrategy: exponential({ baseMs: '2s', maxMs: '1h' }),
  })
  await bugle.close({ graceMs: '10s' })
  const given: Duration[] = [5, '5ms', '1w', '2y']
  // @ts-expect-error no unit
  given.push('5')
  // @ts-expect-error months are no unit
  given.push('6M')
  // @ts-expect-error a word is no unit
  given.push('5 minutes')
}
