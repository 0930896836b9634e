import { type BugleEvents, createBugle, type EventStream, type JobResult, type Unsubscribe } from '../../src/index.js'

type Queues = { emails: { to: string }; reports: { month: string } }
const bugle = createBugle<Queues>()

/** With a listener what ends it, without one a stream or a promise; the data know the queues. */
export async function events(signal: AbortSignal): Promise<void> {
  const end: Unsubscribe = bugle.on('job:failed', ({ queue, runMs }) => {
    const name: 'emails' | 'reports' = queue
    const ms: number | null = runMs
    return [name, ms]
  })
  end()
  end[Symbol.dispose]()
  const stream: EventStream<BugleEvents<'emails' | 'reports'>['job:failed']> = bugle.on('job:failed', { signal })
  for await (const { queue, error } of stream) {
    const name: 'emails' | 'reports' = queue
    throw new Error(name, { cause: error })
  }
  const { queue, runMs } = await bugle.once('job:acked', { signal })
  const acked: [name: 'emails' | 'reports', ms: number] = [queue, runMs]
  await bugle.once('job:acked')
  bugle.once('job:acked', () => acked)()
  // @ts-expect-error no such event
  bugle.on('job:fail')
  // @ts-expect-error no event is called so: node:events alone listens for it
  bugle.on('error', () => {})
}

export async function keys(): Promise<void> {
  await bugle.put('emails', { to: 'a' }, { unique: { key: 'a', while: 'running', forMs: 5 }, keyMode: 'reject' })
  // @ts-expect-error a key is what it is about
  await bugle.put('emails', { to: 'a' }, { unique: { while: 'running' } })
  // @ts-expect-error no such state
  await bugle.put('emails', { to: 'a' }, { unique: { key: 'a', while: 'failed' } })
}

export async function jobs(id: string): Promise<void> {
  const answer: 'cancelled' | 'requested' | 'not-found' = await bugle.cancel(id)
  const cancelled: number = await bugle.cancel({ queue: 'emails', containing: { to: 'a' } })
  const discarded: number = await bugle.discard({ state: 'failed' })
  const changed: boolean = await bugle.edit(id, { delayMs: 0 })
  // @ts-expect-error the state must be said
  await bugle.discard({ queue: 'emails' })
  const ended: JobResult<{ url: string }> = await bugle.result<{ url: string }>(id)
  if (ended.outcome === 'acked') console.log(ended.result.url, answer, cancelled, discarded, changed)
  if (ended.outcome === 'failed') console.log(ended.error.message)
  // @ts-expect-error there is none of a job that is gone
  if (ended.outcome === 'gone') console.log(ended.result)
  // @ts-expect-error runs are counted, and not retries
  await bugle.consume('emails', () => {}, { retryStrategy: { retries: 1 } })
  await bugle.consume('emails', () => {}, { retryStrategy: { maxAttempts: 1 }, keep: { archivedForMs: 5 } })
}
