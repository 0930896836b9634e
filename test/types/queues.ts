/**
 * Checked by `tsc -p test/tsconfig.json`, never run: what compiles, and what must not.
 */
import {
  type AckOutcome,
  ack,
  type Bugle,
  type BugleErrorCode,
  type BugleEvents,
  type BugleOptions,
  type ConsumeOptions,
  type Consumer,
  createBugle,
  type Handler,
  isOutcome,
  type Job,
  type JobContext,
  type Outcome,
  type PutOptions,
  type QueueMap,
  reject,
  type StopReport,
} from '../../src/index.js'
import { type Equal, is } from './equal.js'

type Queues = {
  emails: { to: string; cc?: string[] }
  counts: number
  ticks: null
}

export async function queues(): Promise<void> {
  const bugle = createBugle<Queues>()
  is<Equal<typeof bugle, Bugle<Queues>>>()

  // put
  const id = await bugle.put('emails', { to: 'a@example.org' })
  is<Equal<typeof id, string>>()
  await bugle.put('emails', { to: 'a@example.org', cc: [] }, { priority: 1 })
  await bugle.put('counts', 5)
  await bugle.put('ticks', null)
  // @ts-expect-error there is no such queue
  await bugle.put('email', { to: 'a@example.org' })
  // @ts-expect-error a queue's name is a string
  await bugle.put(1, 5)
  // @ts-expect-error another queue's payload
  await bugle.put('emails', 5)
  // @ts-expect-error a payload without its field
  await bugle.put('emails', {})
  // @ts-expect-error a payload with a misspelt field
  await bugle.put('emails', { to: 'a@example.org', bcc: [] })
  // @ts-expect-error no payload
  await bugle.put('emails')
  // @ts-expect-error there is no such option
  await bugle.put('counts', 5, { prio: 1 })
  // @ts-expect-error an option of another type
  await bugle.put('counts', 5, { priority: '1' })

  // putMany
  const ids = await bugle.putMany('emails', [{ to: 'a@example.org' }, { to: 'b@example.org' }])
  is<Equal<typeof ids, string[]>>()
  const fixed: readonly number[] = [1, 2]
  await bugle.putMany('counts', fixed, { priority: 1 })
  await bugle.putMany('emails', [], (payload, index) => {
    is<Equal<typeof payload, Queues['emails']>>()
    is<Equal<typeof index, number>>()
    return { priority: payload.to.length }
  })
  await bugle.putMany('counts', [1], () => undefined)
  // @ts-expect-error one of them is another queue's
  await bugle.putMany('emails', [{ to: 'a@example.org' }, 5])
  // @ts-expect-error one payload is not many
  await bugle.putMany('counts', 5)
  // @ts-expect-error there is no such queue
  await bugle.putMany('email', [])
  // @ts-expect-error options of another type
  await bugle.putMany('counts', [1], (payload) => ({ priority: `${payload}` }))

  // consume
  const consumer = await bugle.consume('emails', async (job, context) => {
    is<Equal<typeof job, Job<Queues['emails']>>>()
    is<Equal<typeof job.payload, Queues['emails']>>()
    is<Equal<typeof job.id, string>>()
    is<Equal<typeof job.attempt, number>>()
    is<Equal<typeof job.createdAt, Date>>()
    is<Equal<typeof context, JobContext<Bugle<Queues>>>>()
    // The instance is handed on with its queues.
    await context.bugle.put('counts', job.payload.to.length)
    // @ts-expect-error not this queue's payload
    await context.bugle.put('counts', job.payload)
    // @ts-expect-error a job is read-only
    job.attempt = 2
    // @ts-expect-error there is no such field
    return job.payload.subject
  })
  is<Equal<typeof consumer, Consumer>>()
  await bugle.consume('counts', (job) => job.payload + 1, { concurrency: 3, outcome: 'implicit' })
  await bugle.consume('counts', () => ack(), { outcome: 'explicit' })
  await bugle.consume('counts', async ({ payload }) => (payload > 1 ? reject('too many') : ack(payload)))
  const general: Handler = (job) => job.payload
  await bugle.consume('counts', general)
  const typed: Handler<number> = ({ payload }) => payload
  await bugle.consume('counts', typed)
  // @ts-expect-error a handler for another payload
  await bugle.consume('emails', typed)
  // @ts-expect-error there is no such queue
  await bugle.consume('email', () => {})
  // @ts-expect-error no handler
  await bugle.consume('emails')
  // @ts-expect-error there is no such option
  await bugle.consume('emails', () => {}, { parallel: 3 })
  // @ts-expect-error another value than those two
  await bugle.consume('emails', () => {}, { outcome: 'maybe' })

  const report = await consumer.stop()
  is<Equal<typeof report, StopReport>>()
  is<Equal<typeof consumer.stopped, Promise<StopReport>>>()
  // @ts-expect-error what a consumer tells is read-only
  consumer.isRunning = false
  await consumer[Symbol.asyncDispose]()
  await bugle[Symbol.asyncDispose]()
}

export async function untyped(): Promise<void> {
  const bugle = createBugle()
  is<Equal<typeof bugle, Bugle>>()
  await bugle.put('anything', { at: 'all' })
  await bugle.consume('anything', (job) => {
    is<Equal<typeof job.payload, unknown>>()
    // @ts-expect-error nothing is known of it
    return job.payload.at
  })
  const any: QueueMap = { anything: 1 }
  return void any
}

export function options(): void {
  createBugle({ connection: { host: 'db', password: async () => 'secret', ssl: 'require' } })
  createBugle({ connectionString: 'postgres://db', sweepMs: 0, listen: false })
  // @ts-expect-error there is no such option
  createBugle({ poolsize: 3 })
  // @ts-expect-error an option of another type
  createBugle({ sweepMs: '30' })
  // @ts-expect-error there is no such field
  createBugle({ connection: { hostname: 'db' } })
  const made: BugleOptions = { schema: 'mine' }
  // @ts-expect-error options are read-only
  made.schema = 'other'
  const consume: ConsumeOptions = { signal: new AbortController().signal }
  const put: PutOptions = { priority: 1 }
  void [consume, put]
}

export function transactions(bugle: Bugle<Queues>): void {
  bugle.put('counts', 1, { tx: async (text, values) => [{ id: text + values.length }] })
  bugle.put('counts', 1, { tx: async () => ({ rows: [] }) })
  // @ts-expect-error a function must answer with rows
  bugle.put('counts', 1, { tx: async () => 5 })
  // @ts-expect-error null is no transaction
  bugle.put('counts', 1, { tx: null })
  // @ts-expect-error an object without query
  bugle.put('counts', 1, { tx: {} })
}

export function events(bugle: Bugle<Queues>): void {
  bugle.on('job:started', ({ id, queue, kind, attempt, workerId, waitMs }) => {
    is<Equal<[typeof id, typeof queue, typeof workerId], [string, keyof Queues, string]>>()
    // @ts-expect-error no queue is called so
    if (queue === 'email') return
    is<Equal<[typeof kind, typeof attempt, typeof waitMs], [string | null, number, number]>>()
  })
  bugle.on('job:acked', (data) => {
    is<Equal<typeof data, BugleEvents<keyof Queues>['job:acked']>>()
    is<Equal<typeof data.runMs, number>>()
    // @ts-expect-error that is in another event
    return data.waitMs
  })
  bugle.once('job:failed', ({ error, cause }) => {
    is<Equal<typeof error, Error>>()
    is<'rejected' extends typeof cause ? true : false>()
    // @ts-expect-error not one of the causes
    return cause === 'tired'
  })
  bugle.on('job:stale', ({ lease }) => is<Equal<typeof lease, string>>())
  bugle.on('consumer:stopped', ({ report }) => is<Equal<typeof report, StopReport>>())
  bugle.on('database:down', async ({ queue, error }) =>
    is<Equal<[typeof queue, typeof error], [keyof Queues | null, Error]>>(),
  )
  bugle.on('callback:error', ({ where }) => is<'listener' extends typeof where ? true : false>())
  bugle.on('listener:health', ({ from, to }) => is<Equal<typeof from, typeof to>>())
  bugle.off('job:acked', () => {})
  // @ts-expect-error there is no such event
  bugle.on('job:done', () => {})
  // @ts-expect-error none is called error
  bugle.on('error', () => {})
  // @ts-expect-error a listener of another event's data
  bugle.on('job:acked', (data: BugleEvents['job:failed']) => data)
}

export function outcomes(value: unknown): void {
  is<Equal<ReturnType<typeof ack>, AckOutcome>>()
  if (isOutcome(value)) {
    is<Equal<typeof value, Outcome>>()
    switch (value.type) {
      case 'ack':
        return void value.result
      case 'reject':
        return void value.reason
      case 'retry':
        return void [value.delayMs, value.reason]
      case 'release':
        return void value.delayMs
      case 'partial':
        return void [value.progress, value.delayMs]
      case 'error':
        return void value.error
      default: {
        value satisfies never
      }
    }
  }
  // @ts-expect-error a reject has a reason
  reject()
  const code: BugleErrorCode = 'CLOSED'
  // @ts-expect-error there is no such code
  const wrong: BugleErrorCode = 'OPEN'
  void [code, wrong]
}
