import { expect, test } from 'vitest'
import type { Ending, Settled, Settlement } from '../../../../src/consume/settle/ending.js'
import type { Answers } from '../../../../src/consume/settle/pending.js'
import { BugleError } from '../../../../src/errors.js'
import {
  archived,
  databaseError,
  durable,
  failed,
  settlement,
  settlerUnderTest,
  turns,
  waiting,
} from '../../../support/settler.js'
import { signal } from '../../../support/signal.js'

/**
 * A claim is always about to take acks along, until the test says otherwise. What is written is answered by `answer`.
 */
function heldSettlerUnderTest(answer: (batch: readonly Settlement[]) => Answers = () => []) {
  const batches: string[][] = []
  const hold = { isOn: true }
  const { settler, errors } = settlerUnderTest(
    async (batch) => {
      batches.push(batch.map(({ id, workerId }) => `${id} of ${workerId}`))
      return answer(batch)
    },
    () => hold.isOn,
  )
  const settled: Record<string, Settled> = {}
  return {
    settler,
    errors,
    batches,
    hold,
    settled,
    ack: (id: string, workerId = '5', ackedInTransaction = false) =>
      settler.ack({ ...settlement(id, { is: 'acked' }, ackedInTransaction), workerId }, (how) => {
        settled[id] = how
      }),
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
    throw tries < 3 ? databaseError('NOT_SENT') : new BugleError('CLOSED', 'closed')
  })
  expect(await Promise.all([settler.settle(settlement('1')), settler.settle(settlement('2'))])).toEqual([
    { is: 'given-up' },
    { is: 'given-up' },
  ])
  expect(tries).toBe(3)
})

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
    if (tries === 1) throw databaseError('NOT_SENT')
    return [{ id: '1', lease: null, state: null }]
  })
  expect(await settler.settle(settlement('1'))).toEqual({ is: 'stale', lease: null })
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

test('acks wait for the claim that will take them along; other outcomes do not', async () => {
  const { settler, batches, settled, ack } = heldSettlerUnderTest()
  ack('1')
  const plain = settler.settle(settlement('2'))
  expect(await settler.settle(settlement('3', failed))).toEqual(durable)
  await turns()
  expect(batches).toEqual([['3 of 5']])
  expect([settled, settler.waitingAcks]).toEqual([{}, 2])
  settler.carry('5')?.arrived(null)
  expect(await plain).toEqual(durable)
  expect([settled, settler.waitingAcks]).toEqual([{ 1: durable }, 0])
})

test('a claim takes along what waits, each once, and nothing where nothing waits', async () => {
  const { settler, batches, settled, ack } = heldSettlerUnderTest()
  expect(settler.carry('5')).toBe(null)
  ack('1')
  ack('2')
  const first = settler.carry('5')
  expect(first?.acks.map(({ id }) => id)).toEqual(['1', '2'])
  expect([settler.waitingAcks, settler.carry('5')]).toEqual([0, null])
  ack('3')
  const second = settler.carry('5')
  expect(second?.acks.map(({ id }) => id)).toEqual(['3'])
  second?.arrived(null)
  expect(settled).toEqual({ 3: durable })
  first?.arrived(null)
  await turns()
  expect(settled).toEqual({ 1: durable, 2: durable, 3: durable })
  expect(batches).toEqual([])
})

test('a claim takes no more acks along than one statement may hold, and no job twice', async () => {
  const { settler, ack } = heldSettlerUnderTest()
  for (let id = 1; id <= 700; id += 1) ack(String(id))
  ack('1')
  expect(settler.carry('5')?.acks).toHaveLength(500)
  expect(settler.carry('5')?.acks.map(({ id }) => id)).toEqual([
    ...Array.from({ length: 200 }, (_, index) => String(index + 501)),
    '1',
  ])
  ack('800')
  ack('800')
  expect(settler.carry('5')?.acks).toHaveLength(1)
  expect(settler.carry('5')?.acks).toHaveLength(1)
})

test(
  'of acks that went with a claim those that did not match go once more, alone, and hear why; the others are ' +
    'durable',
  async () => {
    const { settler, batches, settled, ack } = heldSettlerUnderTest((batch) =>
      batch.map(({ id }) => ({ id, lease: id === '2' ? '9' : null, state: id === '2' ? 'running' : null })),
    )
    for (const id of ['1', '2', '3']) ack(id)
    const carried = settler.carry('5')
    carried?.arrived(['1'])
    expect(settled).toEqual({ 1: durable })
    await turns()
    expect(settled).toEqual({
      1: durable,
      2: { is: 'stale', lease: '9' },
      // Somebody else has finished it: its claim’s answer was not lost.
      3: { is: 'stale', lease: null },
    })
    expect(batches).toEqual([['2 of 5', '3 of 5']])
  },
)

test(
  'an ack that the handler has given in its own transaction goes with no claim, which would wait for that ' +
    'transaction',
  async () => {
    const { settler, batches, settled, ack } = heldSettlerUnderTest((batch) =>
      batch.map(({ id }) => ({ id, lease: null, state: null })),
    )
    ack('1')
    ack('2', '5', true)
    await turns()
    expect(batches).toEqual([['2 of 5']])
    expect(settled).toEqual({ 2: { is: 'acked-before' } })
    expect(settler.carry('5')?.acks.map(({ id }) => id)).toEqual(['1'])
  },
)

test('acks whose claim broke over its answer may have been committed: one that is gone is durable', async () => {
  const { settler, settled, ack } = heldSettlerUnderTest((batch) =>
    batch.map(({ id }) => ({ id, lease: null, state: null })),
  )
  ack('1')
  settler.carry('5')?.failed(new TypeError('cannot read the answer'))
  await turns()
  expect(settled).toEqual({ 1: durable })
})

test('an ack that did not match and does when it goes once more is durable', async () => {
  const { settler, settled, ack } = heldSettlerUnderTest()
  ack('1')
  settler.carry('5')?.arrived([])
  await turns()
  expect(settled).toEqual({ 1: durable })
})

for (const [why, code, is] of [
  ['whose answer was lost', 'CONNECTION_CLOSED', 'durable'],
  ['that the server has refused', '42501', 'stale'],
  ['that never reached the server', 'NOT_SENT', 'stale'],
] as const) {
  test(`acks that went with a claim ${why} go alone, not with the next; a row missing then is ${is}`, async () => {
    const { settler, batches, settled, ack } = heldSettlerUnderTest((batch) => [
      { id: batch[0]?.id ?? '', lease: null, state: null },
    ])
    ack('1')
    ack('2')
    const carried = settler.carry('5')
    ack('3')
    carried?.failed(databaseError(code))
    expect(settler.carry('5')?.acks.map(({ id }) => id)).toEqual(['3'])
    await turns()
    expect(batches).toEqual([['1 of 5', '2 of 5']])
    expect(settled).toEqual({ 1: is === 'durable' ? durable : { is: 'stale', lease: null }, 2: durable })
  })
}

test('acks of a former worker id do not go with a claim, which is made under the new one', async () => {
  const { settler, batches, settled, ack } = heldSettlerUnderTest()
  ack('1', '4')
  ack('2')
  ack('3', '4')
  const carried = settler.carry('5')
  expect(carried?.acks.map(({ id }) => id)).toEqual(['2'])
  await turns()
  expect(batches).toEqual([['1 of 4', '3 of 4']])
  expect(settled).toEqual({ 1: durable, 3: durable })
  ack('4', '4')
  expect(settler.carry('5')).toBe(null)
  await turns()
  expect(settled[4]).toEqual(durable)
  carried?.arrived(null)
})

test('when what held acks back is over they go alone, together', async () => {
  const { settler, batches, hold, settled, ack } = heldSettlerUnderTest()
  ack('1')
  ack('2')
  settler.flush()
  await turns()
  expect(batches).toEqual([])
  hold.isOn = false
  settler.flush()
  settler.flush()
  await turns()
  expect(batches).toEqual([['1 of 5', '2 of 5']])
  expect(settled).toEqual({ 1: durable, 2: durable })
})

test('acks that were about to go alone wait after all if a claim is about to be sent', async () => {
  const { settler, batches, hold, settled, ack } = heldSettlerUnderTest()
  hold.isOn = false
  ack('1')
  hold.isOn = true
  await turns()
  expect([batches, settled]).toEqual([[], {}])
  settler.carry('5')?.arrived(null)
  expect(settled).toEqual({ 1: durable })
})

test('an ack that comes while others go alone goes with a claim, if one is about to be sent', async () => {
  const gate = signal()
  const batches: string[][] = []
  let isHeld = false
  const { settler } = settlerUnderTest(
    async (batch) => {
      batches.push(batch.map(({ id }) => id))
      await gate.promise
      return []
    },
    () => isHeld,
  )
  const first = settler.settle(settlement('1'))
  await turns()
  isHeld = true
  const second = settler.settle(settlement('2'))
  gate.resolve()
  expect(await first).toEqual(durable)
  settler.carry('5')?.arrived(null)
  expect(await second).toEqual(durable)
  expect(batches).toEqual([['1']])
})

test('an ack that went with a claim and is blocked by somebody steps aside; later ones are settled', async () => {
  let blocked = true
  const batches: string[][] = []
  const { settler } = settlerUnderTest(async (batch) => {
    const ids = batch.map(({ id }) => id)
    if (blocked && ids.includes('1')) throw databaseError('55P03')
    batches.push(ids)
    return []
  })
  const [first, second] = ['1', '2'].map((id) => settler.settle(settlement(id)))
  settler.carry('5')?.failed(databaseError('55P03'))
  expect(await second).toEqual(durable)
  expect(await settler.settle(settlement('3'))).toEqual(durable)
  blocked = false
  expect(await first).toEqual(durable)
  expect(batches).toEqual([['2'], ['3'], ['1']])
})
