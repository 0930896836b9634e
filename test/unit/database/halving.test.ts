import { expect, test } from 'vitest'
import { isRefusal, sendInParts } from '../../../src/database/halving.js'

function databaseError(code: string): Error {
  return Object.assign(new Error(`code ${code}`), { code })
}

/** Sends the numbers from 1 on; what holds one that is bad is refused. */
function underTest(bad: readonly number[], code = 'P0001') {
  const sent: string[] = []
  let through: number[] = []
  return {
    sent,
    through: () => through.toSorted((one, other) => one - other),
    send: async (part: readonly number[]) => {
      sent.push(part.join())
      if (part.some((member) => bad.includes(member))) throw databaseError(code)
      through = [...through, ...part]
    },
    sendNone: async () => void sent.push('none'),
  }
}

const numbers = (count: number) => Array.from({ length: count }, (_, index) => index + 1)

test('the one at fault is found by halves, the larger ones first, and is sent twice', async () => {
  const { sent, through, send, sendNone } = underTest([3])
  const refused = await sendInParts(numbers(8), { send, sendNone })
  expect(refused).toEqual([{ member: 3, error: databaseError('P0001') }])
  expect(sent).toEqual(['none', '1,2,3,4', '5,6,7,8', '1,2', '3,4', '3', '4', '3'])
  expect(through()).toEqual([1, 2, 4, 5, 6, 7, 8])
})

test('a batch of one was refused once already', async () => {
  const { sent, send, sendNone } = underTest([1])
  expect(await sendInParts([1], { send, sendNone })).toMatchObject([{ member: 1 }])
  expect(sent).toEqual(['none', '1'])
})

for (const bad of [[], [1], [500], [17, 18, 400], [1, 100, 200, 300, 500]]) {
  test(`${bad.length} of 500 at fault (${bad}) are found by few statements, and all others are through`, async () => {
    const { sent, through, send, sendNone } = underTest(bad)
    const refused = await sendInParts(numbers(500), { send, sendNone })
    expect(refused.map(({ member }) => member).sort((one, other) => one - other)).toEqual(bad)
    expect(through()).toEqual(numbers(500).filter((member) => !bad.includes(member)))
    expect(sent.length).toBeLessThanOrEqual(3 + bad.length * (2 * Math.ceil(Math.log2(500)) + 1))
  })
}

test('what is refused for no member as well is nobody’s fault: nothing is sent', async () => {
  const { sent, send } = underTest([1])
  const error = databaseError('42501')
  const sendNone = async () => Promise.reject(error)
  await expect(sendInParts(numbers(4), { send, sendNone })).rejects.toBe(error)
  expect(sent).toEqual([])
})

test('a lost connection ends it: what was sent before is through, and what comes after is not sent', async () => {
  const { sent, through, send, sendNone } = underTest([])
  const lost = databaseError('CONNECTION_CLOSED')
  const sending = sendInParts(numbers(4), {
    send: async (part) => (part.includes(3) ? Promise.reject(lost) : send(part)),
    sendNone,
  })
  await expect(sending).rejects.toBe(lost)
  expect(sent).toEqual(['none', '1,2'])
  expect(through()).toEqual([1, 2])
})

test('a refusal is what the server has said of the statement', () => {
  for (const code of ['P0001', '22P05', '23505', '23503', '42501', '42P01', '54000', 'XX001']) {
    expect(isRefusal(databaseError(code)), code).toBe(true)
  }
  for (const code of ['40P01', '40001', '55P03', '57014', '53100', '57P01', '08006', 'CONNECTION_CLOSED', '']) {
    expect(isRefusal(databaseError(code)), code).toBe(false)
  }
  expect(isRefusal(undefined)).toBe(false)
})
