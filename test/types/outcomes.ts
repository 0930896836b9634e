/**
 * Checked by `tsc -p test/tsconfig.json`, never run: how payload types flow from the queue map, or from schemas, to
 * puts, handlers, hooks and events; and what must not compile.
 */
import { type } from 'arktype'
import * as v from 'valibot'
import * as z from 'zod'
import {
  type Bugle,
  createBugle,
  exponential,
  type Job,
  type JobContext,
  type Middleware,
  partial,
  release,
  retry,
} from '../../src/index.js'
import { type Equal, is, type Queues } from './equal.js'

export async function kinds(bugle: Bugle<Queues>): Promise<void> {
  await bugle.put('media', { file: 'a.png' }, { kind: 'thumb' })
  await bugle.put('media', { url: 'https://example.org' }, { kind: 'probe', delayMs: 5, priority: 1 })
  // @ts-expect-error a queue of kinds needs the kind
  await bugle.put('media', { file: 'a.png' })
  // @ts-expect-error options without the kind
  await bugle.put('media', { file: 'a.png' }, { priority: 1 })
  // @ts-expect-error the payload of another kind
  await bugle.put('media', { file: 'a.png' }, { kind: 'probe' })
  // @ts-expect-error there is no such kind
  await bugle.put('media', { file: 'a.png' }, { kind: 'crop' })
  // Where the map has no kinds, any will do.
  await bugle.put('emails', { to: 'a@example.org' }, { kind: 'welcome' })

  await bugle.putMany('media', [{ file: 'a.png' }, { file: 'b.png' }], { kind: 'thumb' })
  await bugle.putMany('media', [{ file: 'a.png' }, { url: 'u' }], (payload) => ({
    kind: 'file' in payload ? 'thumb' : 'probe',
  }))
  // @ts-expect-error one of them is of another kind
  await bugle.putMany('media', [{ file: 'a.png' }, { url: 'u' }], { kind: 'thumb' })
  // @ts-expect-error without a kind
  await bugle.putMany('media', [{ file: 'a.png' }])
  // @ts-expect-error a function that names no kind
  await bugle.putMany('media', [{ file: 'a.png' }], () => ({ priority: 1 }))

  await bugle.consume('media', {
    thumb: (job) => {
      is<Equal<typeof job, Job<{ file: string }, 'thumb'>>>()
    },
    probe: async ({ kind, payload }, ctx) => {
      is<Equal<typeof kind, 'probe'>>()
      is<Equal<typeof ctx.bugle, Bugle<Queues>>>()
      await ctx.bugle.put('media', { file: payload.url }, { kind: 'thumb' })
    },
  })
  // Some of them: the others are left for other consumers.
  await bugle.consume('media', { probe: ({ payload }) => payload.url })
  // All of them: the kind tells which.
  await bugle.consume('media', (job) => (job.kind === 'thumb' ? job.payload.file : job.payload.url))
  // @ts-expect-error without asking for the kind it is not known
  await bugle.consume('media', (job) => job.payload.file)
  // @ts-expect-error a handler for a kind that there is not
  await bugle.consume('media', { crop: () => {} })
  // @ts-expect-error the payload of another kind
  await bugle.consume('media', { thumb: (job: Job<{ url: string }, 'thumb'>) => job.payload.url })
  // @ts-expect-error a handler for each kind, where the queue has no kinds
  await bugle.consume('emails', { welcome: ({ payload }) => payload.to })
  // Nothing is known of the queues, so that it may be one of kinds.
  await createBugle().consume('emails', { welcome: ({ payload }) => payload })
}

interface QueuesAsInterface {
  shapes: { type: 'circle'; r: number } | { type: 'square'; a: number }
  texts: string | number
  // biome-ignore lint/suspicious/noExplicitAny: what is shown
  whatever: any
  sure: boolean
}

export async function unions(bugle: Bugle<QueuesAsInterface>, shape: QueuesAsInterface['shapes']): Promise<void> {
  const made = createBugle<QueuesAsInterface>()
  is<Equal<typeof made, Bugle<QueuesAsInterface>>>()
  await bugle.put('shapes', shape)
  await bugle.putMany(
    'shapes',
    [
      { type: 'circle', r: 1 },
      { type: 'square', a: 2 },
    ],
    (payload) => ({
      priority: payload.type === 'circle' ? payload.r : payload.a,
    }),
  )
  await bugle.putMany('texts', [1, 'x'])
  await bugle.putMany('sure', [true, false], (payload) => {
    is<Equal<typeof payload, boolean>>()
    return { priority: Number(payload) }
  })
  await bugle.put('whatever', { a: [1] }, { kind: 'any' })
  await bugle.consume('shapes', ({ payload }) => (payload.type === 'circle' ? payload.r : payload.a))
  await bugle.consume('whatever', (job) => job.payload.of.any.depth)
  // @ts-expect-error neither of the two
  await bugle.put('shapes', { type: 'circle', a: 1 })
}

export async function hooks(bugle: Bugle<Queues>): Promise<void> {
  await bugle.consume('emails', () => {}, {
    retryStrategy: (job, error) => {
      is<Equal<typeof job, Job<{ to: string }>>>()
      is<Equal<typeof error, Error>>()
      return job.payload.to === '' ? false : { maxAttempts: 3, delaysMs: [1_000, 2_000] }
    },
    onFailed: (job, error) => console.log(job.payload.to, error.message),
    withoutFlags: ['slow'],
    keep: 'all',
    unknownKinds: 'fail',
  })
  await bugle.consume('media', () => {}, { retryStrategy: exponential({ maxAttempts: 3, unless: [TypeError] }) })
  await bugle.consume('emails', () => retry({ delayMs: 5, reason: 'busy' }), { retryStrategy: false })
  await bugle.consume('emails', () => release(), { retryStrategy: { maxAttempts: 2 } })
  await bugle.consume('emails', () => partial({ page: 2 }, { delayMs: 0 }))
  // @ts-expect-error a constant delay alone would retry for ever
  await bugle.consume('emails', () => {}, { retryStrategy: { delayMs: 5 } })
  // @ts-expect-error no strategy answers with a text
  await bugle.consume('emails', () => {}, { retryStrategy: () => 'later' })
  // @ts-expect-error another queue's job
  await bugle.consume('emails', () => {}, { onFailed: (job: Job<number>) => job })
  // @ts-expect-error there is no such option
  retry({ delay: 5 })
  // @ts-expect-error progress must be given
  partial()
}

export async function schemas(): Promise<void> {
  const bugle = createBugle({
    schemas: {
      emails: z.object({ to: z.string(), sendAt: z.coerce.date<string>() }),
      counts: v.object({ n: v.number() }),
      names: type({ name: 'string' }),
      media: { thumb: z.object({ file: z.string() }), probe: v.object({ url: v.string() }) },
    },
  })
  // What is put is what the schema takes; what the handler gets is what it makes of it.
  await bugle.put('emails', { to: 'a@example.org', sendAt: '2030-01-01' })
  await bugle.consume('emails', ({ payload }) => {
    is<Equal<typeof payload, { to: string; sendAt: Date }>>()
  })
  await bugle.put('counts', { n: 1 })
  await bugle.consume('counts', ({ payload }) => {
    is<Equal<typeof payload, { n: number }>>()
  })
  await bugle.put('names', { name: 'Ada' })
  await bugle.consume('names', ({ payload }) => payload.name.length)
  await bugle.put('media', { file: 'a.png' }, { kind: 'thumb' })
  await bugle.consume('media', { thumb: ({ payload }) => payload.file, probe: ({ payload }) => payload.url })
  // @ts-expect-error what the handler gets is not what is put
  await bugle.put('emails', { to: 'a@example.org', sendAt: new Date() })
  // @ts-expect-error another type
  await bugle.put('counts', { n: '1' })
  // @ts-expect-error there is no schema for such a queue
  await bugle.put('email', { to: 'a@example.org' })
  // @ts-expect-error a queue of kinds needs the kind
  await bugle.put('media', { file: 'a.png' })
  // @ts-expect-error the payload of another kind
  await bugle.put('media', { file: 'a.png' }, { kind: 'probe' })
  bugle.on('job:failed', ({ queue }) => {
    is<Equal<typeof queue, 'emails' | 'counts' | 'names' | 'media'>>()
  })
  // @ts-expect-error that is no schema
  createBugle({ schemas: { emails: { to: 'string' } } })
}

export async function contexts(): Promise<void> {
  const mailer = { send: (to: string): string => to }
  const typed = createBugle<Queues, { mailer: typeof mailer }>({ context: { mailer } })
  await typed.consume('emails', ({ payload }, ctx) => {
    is<Equal<typeof ctx.context, { mailer: typeof mailer }>>()
    return ctx.context.mailer.send(payload.to)
  })
  await typed.consume('media', { thumb: (_, ctx) => ctx.context.mailer })
  // The consumer's own comes before the instance's.
  await typed.consume('emails', (_, ctx) => ctx.context.mailer, { context: { mailer: { send: () => 5 } } })
  await typed.consume(
    'emails',
    (_, { context }) => {
      is<Equal<typeof context, { log: string[] }>>()
    },
    { context: { log: [] as string[] } },
  )
  // @ts-expect-error it has no such member
  await typed.consume('emails', (_, ctx) => ctx.context.printer)
  // @ts-expect-error the context must be given as it was promised
  createBugle<Queues, { mailer: typeof mailer }>({ context: {} })

  // @ts-expect-error and it must be given
  createBugle<Queues, { mailer: typeof mailer }>()
  // @ts-expect-error nobody gives such a context
  await typed.consume('emails', (_, ctx: JobContext<Bugle<Queues>, { printer: 5 }>) => ctx.context.printer)

  const inferred = createBugle({ schemas: { counts: z.number() }, context: { mailer } })
  await inferred.consume('counts', (_, ctx) => ctx.context.mailer)
  const plain = createBugle<Queues>({ context: { mailer } })
  // @ts-expect-error nobody said what it is
  await plain.consume('emails', (_, ctx) => ctx.context.mailer)
}

export function middleware(): void {
  const timing: Middleware = async (job, ctx, next) => {
    is<Equal<typeof job, Job>>()
    is<Equal<typeof ctx, JobContext>>()
    const outcome = await next()
    console.log(job.id, outcome.type)
    return outcome
  }
  const bugle = createBugle<Queues>({ middleware: [timing] })
  void bugle.consume('emails', () => {}, {
    middleware: [timing, (job, ctx, next) => (job.attempt > 3 ? ctx.bugle.put('emails', { to: '' }) : next())],
  })
  // @ts-expect-error one is not a list
  createBugle({ middleware: timing })
}
