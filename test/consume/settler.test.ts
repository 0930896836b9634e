import { expect, test } from 'vitest'
import { type Answers, createSettler, type Ending, type Settled, type Settlement } from '../../src/consume/settler.js'
import { BugleError } from '../../src/errors.js'
import { signal } from '../support/signal.js'

function settlement(id: string, ending: Ending = { is: 'acked' }, ackedInTransaction = false): Settlement {
  return { id, lease: '7', workerId: '5', attempt: 1, ending, ackedInTransaction }
}

const error = { name: 'Error', message: 'no', failedBy: 'exhausted', attempt: 1 } as const
const failed: Ending = { is: 'failed', error }
const archived: Ending = { is: 'archived', result: '1' }
const waiting: Ending = { is: 'waiting', delayMs: 5, keptAttempt: true, error, progress: null }
const durable: Settled = { is: 'durable', runAt: null }

function settlerUnderTest(write: (batch: readonly Settlement[]) => Promise<Answers>) {
  const errors: Error[] = []
  return {
    errors,
    settler: createSettler({ write, isHeld: () => false, onError: (error) => errors.push(error), random: () => 0.5 }),
  }
}

test('outcomes of two worker ids go in two statements: each is held against the id it was claimed under', async () => {
  const batches: string[][] = []
  const { settler } = settlerUnderTest(async (batch) => {
    batches.push(batch.map(({ id, workerId }) => `${id} of ${workerId}`))
    return []
  })
  const former = ['1', '3'].map((id) => settler.settle({ ...settlement(id), workerId: '4' }))
  const later = ['2', '4'].map((id) => settler.settle(settlement(id)))
  expect(await Promise.all([...former, ...later])).toEqual(Array(4).fill(durable))
  expect(batches).toEqual([
    ['1 of 4', '3 of 4'],
    ['2 of 5', '4 of 5'],
  ])
})

test('an outcome that is refused as CLOSED is given up; every other failure is tried again', async () => {
  let tries = 0
  const { settler } = settlerUnderTest(async () => {
    tries += 1
    throw tries < 3 ? databaseError('ECONNREFUSED') : new BugleError('CLOSED', 'closed')
  })
  expect(await Promise.all([settler.settle(settlement('1')), settler.settle(settlement('2'))])).toEqual([
    { is: 'given-up' },
    { is: 'given-up' },
  ])
  expect(tries).toBe(3)
})

function databaseError(code: string): Error {
  return Object.assign(new Error(`code ${code}`), { code })
}

test('outcomes that come while one statement is in flight go together with the next', async () => {
  const batches: string[][] = []
  const gate = signal()
  const { settler } = settlerUnderTest(async (batch) => {
    batches.push(batch.map(({ id }) => id))
    if (batches.length === 1) await gate.promise
    return []
  })
  const first = settler.settle(settlement('1'))
  while (batches.length === 0) await new Promise((resolve) => setImmediate(resolve))
  const others = ['2', '3', '4'].map((id) => settler.settle(settlement(id)))
  gate.resolve()
  expect(await Promise.all([first, ...others])).toEqual(Array(4).fill(durable))
  expect(batches).toEqual([['1'], ['2', '3', '4']])
})

test('an outcome that did not match is stale; the others are durable', async () => {
  const { settler } = settlerUnderTest(async () => [{ id: '2', lease: '9', state: 'running' }])
  expect(await Promise.all([settler.settle(settlement('1')), settler.settle(settlement('2'))])).toEqual([
    durable,
    { is: 'stale', lease: '9' },
  ])
})

test('a missing row is stale: somebody else has finished the job', async () => {
  const { settler } = settlerUnderTest(async () => [{ id: '1', lease: null, state: null }])
  expect(await settler.settle(settlement('1'))).toEqual({ is: 'stale', lease: null })
})

const afterLostAnswer: { ending: Ending; row: Omit<Answers[number], 'id'>; settled: Settled['is'] }[] = [
  { ending: { is: 'acked' }, row: { lease: null, state: null }, settled: 'durable' },
  { ending: { is: 'acked' }, row: { lease: '8', state: 'running' }, settled: 'stale' },
  // Given back by others under our lease: it runs again, and is not ours.
  { ending: { is: 'acked' }, row: { lease: '7', state: 'ready' }, settled: 'stale' },
  { ending: archived, row: { lease: null, state: null }, settled: 'durable' },
  { ending: failed, row: { lease: '7', state: 'failed' }, settled: 'durable' },
  // Requeued, or cancelled, since.
  { ending: failed, row: { lease: '7', state: 'ready' }, settled: 'durable' },
  { ending: waiting, row: { lease: '7', state: 'scheduled' }, settled: 'durable' },
  { ending: waiting, row: { lease: '7', state: 'failed' }, settled: 'durable' },
  { ending: waiting, row: { lease: null, state: null }, settled: 'stale' },
  // Not written, and never will be: somebody else has changed the row's owner.
  { ending: waiting, row: { lease: '7', state: 'running' }, settled: 'stale' },
]
for (const { ending, row, settled } of afterLostAnswer) {
  test(`after a lost answer of "${ending.is}" a row ${row.lease} ${row.state} is ${settled}`, async () => {
    let tries = 0
    const { settler } = settlerUnderTest(async () => {
      tries += 1
      if (tries === 1) throw databaseError('CONNECTION_CLOSED')
      return [{ id: '1', ...row }]
    })
    expect((await settler.settle(settlement('1', ending))).is).toBe(settled)
  })
}

test('what the database says of jobs that wait: from when on, or that a cancel came first', async () => {
  const { settler } = settlerUnderTest(async () => [
    { id: '1', lease: '7', state: 'scheduled', matched: true, runAt: 1_000 },
    { id: '2', lease: '7', state: 'failed', matched: true, runAt: null },
  ])
  expect(await Promise.all(['1', '2', '3'].map((id) => settler.settle(settlement(id, waiting))))).toEqual([
    { is: 'durable', runAt: 1_000 },
    { is: 'cancelled' },
    durable,
  ])
})

test('a missing row after an ack in the handler’s transaction is that ack', async () => {
  const { settler } = settlerUnderTest(async () => [
    { id: '1', lease: null, state: null },
    { id: '2', lease: '8', state: 'running' },
  ])
  const all = ['1', '2', '3'].map((id) => settler.settle(settlement(id, waiting, true)))
  expect(await Promise.all(all)).toEqual([{ is: 'acked-before' }, { is: 'stale', lease: '8' }, durable])
})

test('plain acks and other outcomes never share a statement', async () => {
  const batches: string[][] = []
  const { settler } = settlerUnderTest(async (batch) => {
    batches.push(batch.map(({ id, ending }) => `${id} ${ending.is}`))
    return []
  })
  const endings: Ending[] = [{ is: 'acked' }, failed, { is: 'acked' }, waiting]
  await Promise.all(endings.map((ending, index) => settler.settle(settlement(String(index), ending))))
  expect(batches).toEqual([
    ['0 acked', '2 acked'],
    ['1 failed', '3 waiting'],
  ])
})

test('a lost answer whose statement commits during the next one is looked at once more, and is ours', async () => {
  let tries = 0
  const { settler } = settlerUnderTest(async () => {
    tries += 1
    if (tries === 1) throw databaseError('ECONNRESET')
    return [{ id: '1', lease: tries === 2 ? '7' : null, state: tries === 2 ? 'running' : null }]
  })
  expect(await settler.settle(settlement('1'))).toEqual(durable)
  expect(tries).toBe(3)
})

test('an answer that was not lost leaves a missing row stale, also after a refused connection', async () => {
  let tries = 0
  const { settler } = settlerUnderTest(async () => {
    tries += 1
    if (tries === 1) throw databaseError('ECONNREFUSED')
    return [{ id: '1', lease: null, state: null }]
  })
  expect(await settler.settle(settlement('1'))).toEqual({ is: 'stale', lease: null })
})

test('one poisoned outcome becomes a failure that says so; the others of its batch are settled', async () => {
  const written: Settlement[] = []
  const { settler } = settlerUnderTest(async (batch) => {
    if (batch.some(({ ending }) => ending.is === 'archived' && ending.result === 'poison')) throw databaseError('22P05')
    written.push(...batch)
    return []
  })
  const all = ['1', '2', '3', '4', '5'].map((id) =>
    settler.settle(settlement(id, { is: 'archived', result: id === '3' ? 'poison' : '1' })),
  )
  const settled = await Promise.all(all)
  expect(settled.map(({ is }) => is)).toEqual(['durable', 'durable', 'refused', 'durable', 'durable'])
  expect(written.map(({ id }) => id).sort()).toEqual(['1', '2', '3', '4', '5'])
  expect(written.find(({ id }) => id === '3')?.ending).toMatchObject({
    is: 'failed',
    error: { message: expect.stringContaining('refused to store the outcome'), failedBy: 'invalid' },
  })
})

test('an outcome that somebody blocks steps aside, and those of its batch and all later ones are settled', async () => {
  let blocked = true
  const batches: string[][] = []
  const { settler, errors } = settlerUnderTest(async (batch) => {
    const ids = batch.map(({ id }) => id)
    if (blocked && ids.includes('2')) throw databaseError('55P03')
    batches.push(ids)
    return []
  })
  const [first, second, third] = ['1', '2', '3'].map((id) => settler.settle(settlement(id)))
  expect(await Promise.all([first, third])).toEqual([durable, durable])
  expect(await Promise.all(['4', '5'].map((id) => settler.settle(settlement(id))))).toEqual([durable, durable])
  blocked = false
  expect(await second).toEqual(durable)
  expect(batches).toEqual([['1'], ['3'], ['4', '5'], ['2']])
  expect(errors).toEqual([])
})

test('a batch is bounded by its size, not only by its rows', async () => {
  const batches: number[] = []
  const { settler } = settlerUnderTest(async (batch) => {
    batches.push(batch.length)
    return []
  })
  const large: Ending = { is: 'archived', result: 'x'.repeat(400_000) }
  await Promise.all(['1', '2', '3', '4', '5'].map((id) => settler.settle(settlement(id, large))))
  await settler.settle(settlement('6', { is: 'archived', result: 'x'.repeat(2_000_000) }))
  expect(batches).toEqual([2, 2, 1, 1])
})

test('any other refusal is told, and the outcome is kept until it is durable', async () => {
  let tries = 0
  const { settler, errors } = settlerUnderTest(async () => {
    tries += 1
    if (tries <= 2) throw databaseError('42501')
    return []
  })
  expect(await settler.settle(settlement('1'))).toEqual(durable)
  expect(errors.map(({ message }) => message)).toEqual(['code 42501', 'code 42501'])
})

test('two outcomes of one job never share a statement: each is held against its own lease', async () => {
  const batches: string[][] = []
  const { settler } = settlerUnderTest(async (batch) => {
    batches.push(batch.map(({ id, lease }) => `${id}/${lease}`))
    return []
  })
  await Promise.all([
    settler.settle({ ...settlement('1'), lease: '1' }),
    settler.settle({ ...settlement('2'), lease: '5' }),
    settler.settle({ ...settlement('1'), lease: '2', attempt: 2 }),
  ])
  expect(batches).toEqual([['1/1', '2/5'], ['1/2']])
})
