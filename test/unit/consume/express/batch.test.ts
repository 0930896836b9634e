import { expect, test } from 'vitest'
import { Batch, type ClaimedRow } from '../../../../src/consume/express/batch.js'

function batchOf(count: number) {
  const rows = Array.from({ length: count }, (_, at) => ({
    claimed: { job: { id: String(at) } },
    asClaimed: {},
  })) as unknown as ClaimedRow[]
  const batch = new Batch(rows, '5')
  let times = 0
  batch.onDone(() => {
    times += 1
  })
  return { batch, jobs: batch.jobs, done: () => times }
}

test('a batch is done once, when each job is acked, kept or free', () => {
  const { batch, jobs, done } = batchOf(3)
  const [acked, kept, free] = jobs
  expect([acked?.begin(), kept?.begin()]).toEqual([true, true])
  expect(acked?.ack()).toBe(true)
  void kept?.keep()
  void kept?.keep()
  expect([batch.isDone, done()]).toEqual([false, 0])
  expect(free?.letGo()).toBe(true)
  expect(free?.letGo()).toBe(true)
  expect([batch.isDone, done()]).toEqual([true, 1])
  batch.seal()
  expect(jobs.map(({ part }) => part)).toEqual(['acked', 'kept', 'free'])
  expect(done()).toBe(1)
})

test('a seal frees what has not begun, and keeps what runs', () => {
  const { batch, jobs, done } = batchOf(3)
  const [held, begun, acked] = jobs
  begun?.begin()
  acked?.begin()
  acked?.ack()
  batch.seal()
  expect(jobs.map(({ part }) => part)).toEqual(['free', 'kept', 'acked'])
  expect(done()).toBe(1)
  // Too late for each of them.
  expect([held?.begin(), begun?.ack(), acked?.ack(), begun?.letGo()]).toEqual([false, false, false, false])
  expect(jobs.map(({ part }) => part)).toEqual(['free', 'kept', 'acked'])
})

test('whoever keeps a job hears what became of it, before or after it is known', async () => {
  const { jobs } = batchOf(1)
  const [job] = jobs
  job?.begin()
  const first = job?.keep()
  const second = job?.keep()
  job?.tell(true)
  expect(await Promise.all([first, second, job?.keep()])).toEqual([true, true, true])
})

test('an empty batch is done at once', () => {
  const { batch, done } = batchOf(0)
  expect([batch.isDone, done()]).toEqual([true, 1])
})
