/**
 * Checked by `tsc -p test/tsconfig.json`, never run: jobs as operators read them; and what must not compile.
 */
import type { Bugle, JobRecord, JobRecordOf, JobsPage, Kinds } from '../../src/index.js'
import { makeDue, waitForJob } from '../../src/testing/index.js'
import { type Equal, is } from './equal.js'

type Queues = {
  emails: { to: string }
  reports: { since: Date }
  media: Kinds<{ thumb: { file: string }; probe: { url: string } }>
}

export async function one(bugle: Bugle<Queues>): Promise<void> {
  const job = await bugle.job('1')
  if (job === null) return
  is<Equal<typeof job, JobRecordOf<Queues>>>()
  is<Equal<typeof job.queue, keyof Queues>>()
  if (job.queue === 'emails') is<Equal<typeof job.payload, { to: string }>>()
  else if (job.queue === 'reports') is<Equal<typeof job.payload, { since: string }>>()
  else if (job.kind === 'thumb') is<Equal<typeof job.payload, { file: string }>>()
  else is<Equal<typeof job.payload, { url: string }>>()
  // @ts-expect-error of which queue is not known
  job.payload.to
  // @ts-expect-error there is no such queue
  if (job.queue === 'email') return
  const light = await bugle.job('1', { contents: false })
  is<Equal<NonNullable<typeof light>['payload'], null>>()
  const general: JobRecord = job
  void general
}

export async function some(bugle: Bugle<Queues>, contents: boolean, maybe?: 'emails'): Promise<void> {
  const { jobs, cursor } = await bugle.jobs({ queue: 'emails', state: 'failed', limit: 5 })
  is<Equal<typeof jobs, readonly JobRecord<{ to: string }, 'emails'>[]>>()
  await bugle.jobs({ queue: 'emails', cursor })
  const all = await bugle.jobs()
  is<Equal<typeof all, JobsPage<JobRecordOf<Queues>>>>()
  const failed = await bugle.jobs({ state: 'failed', queue: maybe })
  is<Equal<(typeof failed.jobs)[number]['queue'], 'emails'>>()
  const light = await bugle.jobs({ queue: 'emails', contents: false })
  is<Equal<(typeof light.jobs)[number]['payload'], null>>()
  const either = await bugle.jobs({ queue: 'emails', contents })
  is<Equal<(typeof either.jobs)[number]['payload'], { to: string } | null>>()
  // @ts-expect-error there is no such queue
  await bugle.jobs({ queue: 'email' })
  // @ts-expect-error there is no such state
  await bugle.jobs({ state: 'done' })
  // @ts-expect-error there is no such queue
  await bugle.requeue({ queue: 'email' })
  await bugle.requeue({ queue: 'emails', since: new Date() })
}

export async function inTests(bugle: Bugle<Queues>): Promise<void> {
  const found = await waitForJob(bugle, (job) => job.queue === 'emails' && job.payload.to === 'a@example.org')
  is<Equal<typeof found, JobRecordOf<Queues>>>()
  await makeDue(bugle, 'emails')
  // @ts-expect-error there is no such queue
  await makeDue(bugle, 'email')
}

export async function untyped(bugle: Bugle): Promise<void> {
  const job = await bugle.job('1')
  is<Equal<typeof job, JobRecord | null>>()
}
