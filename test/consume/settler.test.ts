import { expect, test } from 'vitest'
import { createSettler, type Missed, type Settlement } from '../../src/consume/settler.js'
import { signal } from '../support/signal.js'

function settlement(id: string, failure: Settlement['failure'] = null): Settlement {
  return { id, lease: '7', attempt: 1, failure }
}

const failure = { name: 'Error', message: 'no', failedBy: 'exhausted', attempt: 1 }

function settlerUnderTest(write: (batch: readonly Settlement[]) => Promise<Missed>) {
  const errors: Error[] = []
  return { errors, settler: createSettler({ write, onError: (error) => errors.push(error), random: () => 0.5 }) }
}

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
  expect(await Promise.all([first, ...others])).toEqual(Array(4).fill({ is: 'durable' }))
  expect(batches).toEqual([['1'], ['2', '3', '4']])
})

test('an outcome that did not match is stale; the others are durable', async () => {
  const { settler } = settlerUnderTest(async () => [{ id: '2', lease: '9', state: 'running' }])
  expect(await Promise.all([settler.settle(settlement('1')), settler.settle(settlement('2'))])).toEqual([
    { is: 'durable' },
    { is: 'stale', lease: '9' },
  ])
})

test('a missing row is stale: somebody else has finished the job', async () => {
  const { settler } = settlerUnderTest(async () => [{ id: '1', lease: null, state: null }])
  expect(await settler.settle(settlement('1'))).toEqual({ is: 'stale', lease: null })
})

test('after a lost answer a missing row, and one failed under our lease, are ours; any other is stale', async () => {
  let tries = 0
  const { settler } = settlerUnderTest(async () => {
    tries += 1
    if (tries === 1) throw databaseError('CONNECTION_CLOSED')
    return [
      { id: '1', lease: null, state: null },
      { id: '2', lease: '7', state: 'failed' },
      { id: '3', lease: '8', state: 'running' },
      // Given back by others under our lease: it runs again, and is not ours.
      { id: '4', lease: '7', state: 'ready' },
    ]
  })
  const all = ['1', '2', '3', '4'].map((id) => settler.settle(settlement(id, id === '2' ? failure : null)))
  expect(await Promise.all(all)).toEqual([
    { is: 'durable' },
    { is: 'durable' },
    { is: 'stale', lease: '8' },
    { is: 'stale', lease: '7' },
  ])
})

test('a lost answer whose statement commits during the next one is looked at once more, and is ours', async () => {
  let tries = 0
  const { settler } = settlerUnderTest(async () => {
    tries += 1
    if (tries === 1) throw databaseError('ECONNRESET')
    return [{ id: '1', lease: tries === 2 ? '7' : null, state: tries === 2 ? 'running' : null }]
  })
  expect(await settler.settle(settlement('1'))).toEqual({ is: 'durable' })
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
    if (batch.some(({ id, failure }) => id === '3' && failure?.message === 'poison')) throw databaseError('22P05')
    written.push(...batch)
    return []
  })
  const all = ['1', '2', '3', '4', '5'].map((id) =>
    settler.settle(settlement(id, id === '3' ? { ...failure, message: 'poison' } : null)),
  )
  const settled = await Promise.all(all)
  expect(settled.map(({ is }) => is)).toEqual(['durable', 'durable', 'refused', 'durable', 'durable'])
  expect(written.map(({ id }) => id).sort()).toEqual(['1', '2', '3', '4', '5'])
  expect(written.find(({ id }) => id === '3')?.failure?.message).toContain('refused to store the outcome')
})

test('any other refusal is told, and the outcome is kept until it is durable', async () => {
  let tries = 0
  const { settler, errors } = settlerUnderTest(async () => {
    tries += 1
    if (tries <= 2) throw databaseError('42501')
    return []
  })
  expect(await settler.settle(settlement('1'))).toEqual({ is: 'durable' })
  expect(errors.map(({ message }) => message)).toEqual(['code 42501', 'code 42501'])
})

test('two outcomes of one job never share a statement: each is held against its own lease', async () => {
  const batches: string[][] = []
  const { settler } = settlerUnderTest(async (batch) => {
    batches.push(batch.map(({ id, lease }) => `${id}/${lease}`))
    return []
  })
  await Promise.all([
    settler.settle({ id: '1', lease: '1', attempt: 1, failure: null }),
    settler.settle({ id: '2', lease: '5', attempt: 1, failure: null }),
    settler.settle({ id: '1', lease: '2', attempt: 2, failure: null }),
  ])
  expect(batches).toEqual([['1/1', '2/5'], ['1/2']])
})
