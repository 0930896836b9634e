/**
 * Checked by `tsc -p test/tsconfig.json`, never run: `ctx.context`, as the instance or the consumer gives it; and what
 * must not compile.
 */
import * as z from 'zod'
import {
  type Bugle,
  type BugleOptions,
  type ConsumeOptions,
  createBugle,
  defineQueues,
  type Job,
  type JobContext,
  type Middleware,
} from '../../src/index.js'
import { drain, runOne } from '../../src/testing/index.js'
import { type Equal, is, type Queues } from './equal.js'

declare const mailer: { send(to: string): string }
interface Needs {
  readonly mailer: typeof mailer
}

export async function ofTheConsumer(bugle: Bugle<Queues>): Promise<void> {
  await bugle.consume('emails', ({ payload }, ctx) => ctx.context.mailer.send(payload.to), { context: { mailer } })
  await bugle.consume('emails', (_, ctx) => is<Equal<typeof ctx.context, { log: string[] }>>(), {
    context: { log: [] as string[] },
  })
  await bugle.drain('emails', ({ payload }, ctx) => ctx.context.mailer.send(payload.to), { context: { mailer } })
  await bugle.consume('media', { thumb: (_, ctx) => ctx.context.mailer }, { context: { mailer }, concurrency: 2 })
  await bugle.drain('media', { thumb: (_, ctx) => ctx.context.mailer }, { context: { mailer }, until: 'scheduled' })
  // Beside functions, of which the compiler knows nothing before it has read the context.
  await bugle.consume('emails', (_, ctx) => ctx.context.mailer, {
    retryStrategy: (job, error) => (job.attempt > 2 || error.name === 'TypeError' ? false : { delayMs: 5 }),
    onFailed: (job) => job.payload.to,
    middleware: [async (_job, ctx, next) => (ctx.context.mailer ? next() : next())],
    context: { mailer },
  })
  const anywhere: Middleware = async (_job, _ctx, next) => next()
  const needing: Middleware<Bugle<Queues>, Needs> = async (_job, ctx, next) => (ctx.context.mailer ? next() : next())
  await bugle.consume('emails', (_, ctx) => ctx.context.mailer, {
    context: { mailer },
    middleware: [anywhere, needing],
  })
  await bugle.consume(
    'emails',
    (_job: Job<{ to: string }>, ctx: JobContext<unknown, number>) => ctx.context.toFixed(),
    {
      context: 5,
    },
  )
  await runOne(bugle, 'emails', (_, ctx) => ctx.context.mailer, { context: { mailer } })
  await drain(bugle, 'emails', (_, ctx) => ctx.context.mailer, { context: { mailer }, maxRuns: 3 })

  // @ts-expect-error it has no such member
  await bugle.consume('emails', (_, ctx) => ctx.context.printer, { context: { mailer } })
  // @ts-expect-error it has no such member
  await bugle.drain('emails', (_, ctx) => ctx.context.printer, { context: { mailer } })
  // @ts-expect-error nobody gives one
  await bugle.consume('emails', (_, ctx) => ctx.context.mailer)
  // @ts-expect-error nobody gives one: the options have none
  await bugle.drain('emails', (_, ctx) => ctx.context.mailer, { concurrency: 2 })
  // @ts-expect-error nobody gives such a one
  await bugle.consume('emails', (_: unknown, ctx: JobContext<unknown, Needs>) => ctx.context.mailer, { context: 5 })
  // @ts-expect-error nobody gives what the middleware needs
  await bugle.consume('emails', () => {}, { context: { log: [] }, middleware: [needing] })
}

export async function ofTheInstance(): Promise<void> {
  const typed = createBugle<Queues, Needs>({ context: { mailer } })
  is<Equal<typeof typed, Bugle<Queues, Needs>>>()
  await typed.consume('emails', ({ payload }, ctx) => {
    is<Equal<typeof ctx.context, Needs>>()
    is<Equal<typeof ctx.bugle, Bugle<Queues, Needs>>>()
    return ctx.context.mailer.send(payload.to)
  })
  await typed.consume('media', { thumb: (_, ctx) => ctx.context.mailer }, { concurrency: 1 })
  await typed.drain('emails', (_, ctx) => ctx.context.mailer)
  await runOne(typed, 'emails', (_, ctx) => ctx.context.mailer)
  // The consumer's own comes before the instance's.
  await typed.consume('emails', (_, ctx) => is<Equal<typeof ctx.context, number>>(), { context: 5 as number })
  // @ts-expect-error the context must be given as it was promised
  createBugle<Queues, Needs>({ context: {} })
  // @ts-expect-error and it must be given
  createBugle<Queues, Needs>({})
  // @ts-expect-error and so it must be without options
  createBugle<Queues, Needs>()

  const untyped = createBugle({ context: { mailer } })
  is<Equal<typeof untyped, Bugle<Record<string, unknown>, { mailer: typeof mailer }>>>()
  const checked = createBugle({ schemas: { counts: z.number() }, context: { mailer } })
  await checked.consume('counts', ({ payload }, ctx) => ctx.context.mailer.send(payload.toFixed()))
  const plain = createBugle<Queues>({ context: { mailer } })
  is<Equal<typeof plain, Bugle<Queues>>>()
  // @ts-expect-error beside queues that are written out nothing is inferred
  await plain.consume('emails', (_, ctx) => ctx.context.mailer)
}

export async function inferred(): Promise<void> {
  const queues = defineQueues<Queues>()
  const bugle = createBugle({ queues, context: { mailer }, poolSize: 3 })
  is<Equal<typeof bugle, Bugle<Queues, { mailer: typeof mailer }>>>()
  await bugle.put('emails', { to: 'a@example.org' })
  await bugle.consume('media', { thumb: ({ payload }, ctx) => ctx.context.mailer.send(payload.file) })
  const without = createBugle({ queues })
  is<Equal<typeof without, Bugle<Queues>>>()
  // Queues with a schema beside others.
  const mixed = createBugle({ queues, schemas: { counts: z.number() } })
  await mixed.put('counts', 5)
  await mixed.put('emails', { to: 'a@example.org' })
  // @ts-expect-error what the schema takes is a number
  await mixed.put('counts', '5')
  // @ts-expect-error there is no such queue
  await bugle.put('email', { to: 'a@example.org' })
  // @ts-expect-error it has no such member
  await bugle.consume('emails', (_, ctx) => ctx.context.printer)
  // @ts-expect-error not what defineQueues returns
  createBugle({ queues: ['emails'] })
  const returned: Bugle<Queues, Needs> = createBugle({ context: { mailer } })
  await returned.consume('emails', (_, ctx) => ctx.context.mailer)
}

export async function narrower(bugle: Bugle<Queues, Needs>): Promise<void> {
  const some: Bugle<Queues> = bugle
  const less: Bugle<Queues, object> = bugle
  // @ts-expect-error nobody has given more
  const more: Bugle<Queues, Needs & { printer: 5 }> = bugle
  // @ts-expect-error what is unknown is not known
  const known: Bugle<Queues, Needs> = some
  await bugle.consume('emails', (_job, ctx) => takesAny(ctx.bugle))
  void [less, more, known]
}
declare function takesAny(bugle: Bugle<Queues>): void

export function options(given: BugleOptions, consume: ConsumeOptions): void {
  createBugle(given)
  createBugle<Queues>(given)
  createBugle<Queues>({ ...given, name: 'mine' })
  void createBugle<Queues>().consume('emails', () => {}, { concurrency: consume.concurrency })
}

export function codecsOfContextualFunctions(): void {
  const bugle = createBugle({
    codec: { encode: (value) => ({ value }), decode: (stored) => stored },
    context: { count: 1 },
  })
  void bugle.consume('emails', ({ payload }, ctx) => void [payload, ctx.context.count.toFixed()])
}
