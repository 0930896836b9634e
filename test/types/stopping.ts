/**
 * Checked by `tsc -p test/tsconfig.json`, never run: stop, signal, pause, drain and their events; and what must not
 * compile.
 */
import {
  type AbortCode,
  type Bugle,
  type Consumer,
  createBugle,
  type JobContext,
  type Middleware,
  type StopReport,
} from '../../src/index.js'
import { type Equal, is, type Queues } from './equal.js'

export async function signals(bugle: Bugle<Queues>): Promise<void> {
  await bugle.consume('emails', async (_job, ctx) => {
    is<Equal<typeof ctx.signal, AbortSignal>>()
    await fetch('https://example.org', { signal: ctx.signal })
    // @ts-expect-error it is not the handler's to replace
    ctx.signal = AbortSignal.abort()
  })
  const middleware: Middleware = async (_job, ctx, next) => {
    is<Equal<typeof ctx.signal, AbortSignal>>()
    await next()
  }
  await bugle.consume('emails', () => {}, { middleware: [middleware] })
  const helper = async ({ signal }: Pick<JobContext, 'signal'>): Promise<void> => signal.throwIfAborted()
  await bugle.consume('emails', (_job, ctx) => helper(ctx))
}

export async function stops(bugle: Bugle<Queues>): Promise<void> {
  const consumer = await bugle.consume('emails', () => {}, { graceMs: 1_000, abortMs: Infinity, timeoutMs: 60_000 })
  is<Equal<typeof consumer, Consumer>>()
  const report = await consumer.stop()
  is<Equal<typeof report, StopReport>>()
  await consumer.stop({})
  await consumer.stop({ graceMs: 0 })
  await consumer.stop({ abortMs: 0 })
  await consumer.stop({ graceMs: Infinity, abortMs: Infinity })
  await consumer.stop({ graceMs: '1s' })
  // @ts-expect-error no unit
  await consumer.stop({ graceMs: '1' })
  // @ts-expect-error no such option
  await consumer.stop({ timeoutMs: 5 })
  // @ts-expect-error options, not a number
  await consumer.stop(5)
  is<Equal<typeof consumer.stopped, Promise<StopReport>>>()
  is<Equal<typeof consumer.activeJobs, number>>()
  is<Equal<typeof consumer.isRunning, boolean>>()
  is<Equal<typeof consumer.isPaused, boolean>>()
  const idle: Promise<void> = consumer.idle()
  const paused: Promise<void> = consumer.pause()
  consumer.resume()
  await Promise.all([idle, paused])
  // @ts-expect-error read-only
  consumer.isPaused = true

  for (const { id, ageMs } of report.abandoned) {
    is<Equal<typeof id, string>>()
    is<Equal<typeof ageMs, number>>()
  }
  // @ts-expect-error read-only
  report.completed = 5
  const sum: number = report.completed + report.failed + report.interrupted + report.released
  is<Equal<typeof sum, number>>()

  await bugle.close()
  await bugle.close({ graceMs: 0, abortMs: 0 })
  // @ts-expect-error no such option
  await bugle.close({ force: true })
  const disposable: AsyncDisposable[] = [consumer, bugle]
  await disposable[0]?.[Symbol.asyncDispose]()
}

export async function pauses(bugle: Bugle<Queues>): Promise<void> {
  const changed = await bugle.pause('emails')
  is<Equal<typeof changed, boolean>>()
  const resumed = await bugle.resume('media')
  is<Equal<typeof resumed, boolean>>()
  // @ts-expect-error there is no such queue
  await bugle.pause('email')
  // @ts-expect-error there is no such queue
  await bugle.resume('email')
}

export async function drains(bugle: Bugle<Queues>): Promise<void> {
  const report = await bugle.drain('emails', async ({ payload }, ctx) => {
    is<Equal<typeof payload, { to: string }>>()
    is<Equal<typeof ctx.signal, AbortSignal>>()
    await ctx.bugle.put('emails', { to: payload.to })
  })
  is<Equal<typeof report, StopReport>>()
  await bugle.drain('emails', () => {}, { until: 'ready', concurrency: 8, timeoutMs: 5, graceMs: 0, abortMs: 0 })
  await bugle.drain('media', { thumb: ({ payload }) => payload.file }, { until: 'scheduled' })
  await bugle.drain('media', (job) => (job.kind === 'thumb' ? job.payload.file : job.payload.url))
  await bugle.drain('emails', (_job, ctx: JobContext<Bugle<Queues>, number>) => ctx.context.toFixed(), { context: 5 })
  // @ts-expect-error 'ready' or 'scheduled'
  await bugle.drain('emails', () => {}, { until: 'empty' })
  // @ts-expect-error there is no such queue
  await bugle.drain('email', () => {})
  // @ts-expect-error there is no such kind
  await bugle.drain('media', { crop: () => {} })
  // @ts-expect-error only a drain has an end
  await bugle.consume('emails', () => {}, { until: 'ready' })
}

export async function times(bugle: Bugle<Queues>): Promise<void> {
  await bugle.put('emails', { to: 'a@example.org' }, { timeoutMs: 5_000 })
  await bugle.putMany('emails', [{ to: 'a@example.org' }], (_payload, index) => ({ timeoutMs: 5_000 + index }))
  // @ts-expect-error no unit
  await bugle.put('emails', { to: 'a@example.org' }, { timeoutMs: '5' })
  createBugle({ handleSignals: true, graceMs: 1, abortMs: Infinity, rescueAfterMs: 5_000, hungAfterMs: 60_000 })
  // @ts-expect-error yes or no
  createBugle({ handleSignals: ['SIGTERM'] })
}

export function events(bugle: Bugle<Queues>): void {
  bugle.on('job:interrupted', ({ reason, id, queue }) => {
    is<Equal<typeof reason, AbortCode>>()
    is<Equal<typeof id, string>>()
    is<Equal<typeof queue, 'emails' | 'media'>>()
  })
  bugle.on('job:timeout', ({ timeoutMs }) => is<Equal<typeof timeoutMs, number>>())
  bugle.on('job:stuck', ({ ageMs, reason }) => {
    is<Equal<typeof ageMs, number>>()
    is<Equal<typeof reason, 'SHUTDOWN' | 'CANCELLED' | 'TIMEOUT' | 'LEASE_LOST'>>()
  })
  bugle.on('consumer:stopping', ({ graceMs, forced }) => {
    is<Equal<typeof graceMs, number>>()
    is<Equal<typeof forced, boolean>>()
  })
  bugle.on('consumer:stopped', ({ report }) => is<Equal<typeof report, StopReport>>())
  // @ts-expect-error there is no such event
  bugle.on('job:interupted', () => {})
}
