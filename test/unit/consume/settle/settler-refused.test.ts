import { expect, test } from 'vitest'
import type { Ending, Settled, Settlement } from '../../../../src/consume/settle/ending.js'
import {
  databaseError,
  durable,
  error,
  failed,
  settlement,
  settlerUnderTest,
  turn,
  waiting,
} from '../../../support/settler.js'

const poison: Readonly<Record<string, { ending: Ending; lesser: Ending; settled: Settled['is']; told: string[] }>> = {
  'a result': {
    ending: { is: 'archived', result: '"poison"' },
    lesser: { is: 'archived', result: 'null' },
    settled: 'durable',
    told: ['3 stored without data: code 22P05'],
  },
  'an error': {
    ending: { is: 'failed', error: { ...error, message: 'poison' } },
    lesser: { is: 'failed', error: notStored('invalid') },
    settled: 'refused',
    told: [],
  },
  progress: {
    ending: { is: 'waiting', delayMs: 5, keptAttempt: true, error: null, progress: '"poison"' },
    lesser: { is: 'waiting', delayMs: 5, keptAttempt: true, error: null, progress: null },
    settled: 'durable',
    told: ['3 stored without data: code 22P05'],
  },
  'the error of a job that is retried': {
    ending: { ...waiting, error: { ...error, message: 'poison' } },
    lesser: { ...waiting, error: notStored('retrying') },
    settled: 'durable',
    told: [],
  },
}
for (const [what, { ending, lesser, settled, told }] of Object.entries(poison)) {
  test(`${what} that the database refuses is left out, and the others of the batch are settled`, async () => {
    const written: Settlement[] = []
    const { settler, refused, errors } = settlerUnderTest(async (batch) => {
      if (batch.some(({ ending }) => JSON.stringify(ending).includes('poison'))) throw databaseError('22P05')
      written.push(...batch)
      return []
    })
    const all = ['1', '2', '3', '4', '5'].map((id) => settler.settle(settlement(id, id === '3' ? ending : failed)))
    expect((await Promise.all(all)).map(({ is }) => is)).toEqual(['durable', 'durable', settled, 'durable', 'durable'])
    expect(written.map(({ id }) => id).sort()).toEqual(['1', '2', '3', '4', '5'])
    expect(written.find(({ id }) => id === '3')?.ending).toEqual(lesser)
    expect([refused, errors]).toEqual([told, []])
  })
}

function notStored(failedBy: 'invalid' | 'retrying') {
  const message = 'the database refused to store the outcome of this run'
  return { name: 'BugleError', message, failedBy, attempt: 1 } as const
}

test('what a database without such characters refuses is stored in ASCII', async () => {
  const written: Settlement[] = []
  const { settler, refused } = settlerUnderTest(async (batch) => {
    if (/[€🎺]/u.test(JSON.stringify(batch))) throw databaseError('22P05')
    written.push(...batch)
    return []
  })
  const progress = JSON.stringify({ '€': '🎺\n' })
  const all = [
    settler.settle(settlement('1', { is: 'failed', error: { ...error, message: 'costs 5 €' } })),
    settler.settle(settlement('2', { ...waiting, error: null, progress })),
    settler.settle(settlement('3', { is: 'archived', result: '"5 €"' })),
    settler.settle(settlement('4', { is: 'archived', result: '"ä"' })),
  ]
  expect(await Promise.all(all)).toEqual(Array(4).fill(durable))
  const endings = Object.fromEntries(written.map(({ id, ending }) => [id, ending]))
  expect(endings[1]).toEqual({ is: 'failed', error: { ...error, message: 'costs 5 \\u20ac' } })
  expect(endings[2]).toMatchObject({ is: 'waiting', progress: '{"\\\\u20ac":"\\\\ud83c\\\\udfba\\n"}' })
  expect(endings[3]).toEqual({ is: 'archived', result: '"5 \\\\u20ac"' })
  expect(endings[4]).toEqual({ is: 'archived', result: '"ä"' })
  // Nobody misses the text of an error.
  expect(refused).toEqual(['2 stored in ASCII: code 22P05', '3 stored in ASCII: code 22P05'])
})

const kept: Readonly<Record<string, Ending>> = {
  ack: { is: 'acked' },
  'job that goes back': { ...waiting, error: null },
  failure: failed,
  'result of null': { is: 'archived', result: 'null' },
}
for (const [what, ending] of Object.entries(kept)) {
  test(`${what}: refused for whatever it holds, it is kept as it is, and the others go on`, async () => {
    let isRefused = true
    const written: Settlement[] = []
    const { settler, refused, errors } = settlerUnderTest(async (batch) => {
      if (isRefused && batch.some(({ id }) => id === '2')) throw databaseError('P0001')
      written.push(...batch)
      return []
    })
    const [first, second, third] = ['1', '2', '3'].map((id) => settler.settle(settlement(id, ending)))
    expect(await Promise.all([first, third])).toEqual([durable, durable])
    expect(await settler.settle(settlement('4', ending))).toEqual(durable)
    while (refused.length < 2) await turn()
    isRefused = false
    expect(await second).toEqual(durable)
    expect(written.at(-1)).toMatchObject({ id: '2', ending })
    expect(written.map(({ id }) => id).sort()).toEqual(['1', '2', '3', '4'])
    expect(refused).toEqual(['2 kept: code P0001', '2 kept: code P0001'])
    expect(errors).toEqual([])
  })
}

test('a statement refused for no job as well is no outcome’s fault, and sent until it is durable', async () => {
  let tries = 0
  const { settler, errors, refused } = settlerUnderTest(
    async () => {
      tries += 1
      if (tries <= 2) throw databaseError('42501')
      return []
    },
    () => false,
    async () => {
      throw databaseError('42501')
    },
  )
  expect(await settler.settle(settlement('1'))).toEqual(durable)
  expect(errors.map(({ message }) => message)).toEqual(['code 42501', 'code 42501'])
  expect(refused).toEqual([])
})

test('an outcome that lost a race is settled when it is sent once more, and nothing is told', async () => {
  let races = 2
  const batches: string[][] = []
  const { settler, errors, refused } = settlerUnderTest(async (batch) => {
    batches.push(batch.map(({ id }) => id))
    if (races-- > 0) throw databaseError('23505')
    return []
  })
  const all = ['1', '2'].map((id) => settler.settle(settlement(id, waiting)))
  expect(await Promise.all(all)).toEqual([durable, durable])
  expect(batches).toEqual([['1', '2'], ['1'], ['2'], ['1']])
  expect([errors, refused]).toEqual([[], []])
})

test('a lost answer in the middle of a split counts for its part only', async () => {
  const lost: string[] = []
  const { settler, refused } = settlerUnderTest(async (batch) => {
    const ids = batch.map(({ id }) => id)
    if (ids.includes('1')) throw databaseError('P0001')
    if (ids.join() === '3,4' && lost.push(ids.join()) === 1) throw databaseError('CONNECTION_CLOSED')
    return ids.map((id) => ({ id, lease: null, state: null }))
  })
  const [, ...others] = ['1', '2', '3', '4'].map((id) => settler.settle(settlement(id)))
  expect(await Promise.all(others)).toEqual([{ is: 'stale', lease: null }, durable, durable])
  expect(lost).toEqual(['3,4', '3,4'])
  while (refused.length === 0) await turn()
  expect(refused).toEqual(['1 kept: code P0001'])
})
