import { expect, test } from 'vitest'
import {
  createPrimary,
  type DatabaseServer,
  describeServer,
  type FoundServer,
  readIdentity,
} from '../../../src/database/primary.js'

const h1 = { host: 'h1', port: 5432 }
const h2 = { host: 'h2', port: 5432 }
const unnamed: FoundServer = { standby: false, readOnly: false, identity: null }
const standby: FoundServer = { ...unnamed, standby: true }
const on = (timeline: number, system = '7'): FoundServer => ({ ...unnamed, identity: { system, timeline } })

function primaryUnderTest() {
  const moves: [DatabaseServer, DatabaseServer][] = []
  const outdated: string[] = []
  const left: string[] = []
  const split: string[] = []
  const clock = { now: 0 }
  const primary = createPrimary({
    onMoved: (from, to) => moves.push([from, to]),
    onOutdated: ({ message }) => outdated.push(message),
    onSplit: ({ message }) => split.push(message),
    now: () => clock.now,
  })
  return {
    primary,
    split,
    clock,
    moves,
    outdated,
    left,
    admit: (found: FoundServer, host = h1, way: 'leads' | 'follows' = 'leads', name = 'x') =>
      primary.admit(found, host, way, ({ message }) => left.push(`${name}: ${message}`)),
  }
}

test('a standby is refused, whatever else is known', () => {
  const { primary, admit } = primaryUnderTest()
  expect(() => admit(standby)).toThrow(
    expect.objectContaining({ code: '57P03', message: 'h1:5432 is a standby, and cannot be written to' }),
  )
  expect(primary.server).toBeNull()
})

test('a server where our transactions are read only is refused, and is no former primary', () => {
  const { primary, admit, outdated } = primaryUnderTest()
  expect(() => admit({ ...on(1), readOnly: true })).toThrow(
    expect.objectContaining({ name: 'ReadOnlyError', code: '57P03' }),
  )
  // A standby is said to be one.
  expect(() => admit({ ...standby, readOnly: true })).toThrow('is a standby')
  expect([primary.server, outdated]).toEqual([null, []])
  admit(on(1))
  expect(primary.server).toMatchObject({ timeline: 1 })
})

test('a higher timeline moves the instance: sessions on the lower one leave at once, and the others stay', () => {
  const { primary, admit, moves, left } = primaryUnderTest()
  admit(on(1), h1, 'leads', 'old')
  admit(on(1), h1, 'leads', 'ended')()
  expect(primary.server).toEqual({ host: 'h1', port: 5432, system: '7', timeline: 1 })
  admit(on(2), h2, 'leads', 'new')
  admit(on(2), h1, 'leads', 'another way')
  expect(left).toEqual(['old: another server is in use: h2:5432 (timeline 2 of system 7)'])
  expect(primary.server).toEqual({ host: 'h2', port: 5432, system: '7', timeline: 2 })
  expect(moves).toEqual([[{ ...h1, system: '7', timeline: 1 }, primary.server]])
})

test('a lower timeline than was seen is refused for good, and reported once until the next move', () => {
  const { primary, admit, outdated, left } = primaryUnderTest()
  admit(on(2), h2)
  for (let again = 0; again < 2; again += 1) {
    expect(() => admit(on(1), h1)).toThrow(
      'h1:5432 (timeline 1 of system 7) is a former primary: timeline 2 of the same system was seen. ' +
        'If it was put back on purpose, restart this process',
    )
  }
  expect(outdated).toHaveLength(1)
  admit(on(3), h2)
  expect(() => admit(on(1), h1)).toThrow('former primary')
  expect(outdated).toHaveLength(2)
  // Also after a look at another system.
  admit(on(1, '8'), h1)
  expect(() => admit(on(2), h2)).toThrow('timeline 3 of the same system was seen')
  expect(primary.server).toMatchObject({ system: '8', timeline: 1 })
  expect(left).toHaveLength(2)
})

/** Sessions that find two systems in turns, one each 50 ms. @returns when the instance moved */
function meetInTurns({ admit, moves, clock }: ReturnType<typeof primaryUnderTest>, untilMs: number): number[] {
  const movedAt: number[] = []
  for (let turn = 0; clock.now < untilMs; turn += 1, clock.now += 50) {
    const before = moves.length
    try {
      admit(on(1, turn % 2 === 0 ? '7' : '8'), turn % 2 === 0 ? h1 : h2)
    } catch (error) {
      expect(error).toMatchObject({ name: 'RefusedServerError', code: '57P03' })
    }
    if (moves.length > before) movedAt.push(clock.now)
  }
  return movedAt
}

test('of two systems behind one name the instance is on one at a time, and moves once per back-off', () => {
  const under = primaryUnderTest()
  const { split, clock, primary } = under
  const movedAt = meetInTurns(under, 200_000)
  const stays = movedAt.slice(1).map((at, index) => Math.round((at - (movedAt[index] ?? 0)) / 1_000))
  // The first move is at once: an address that has changed must be followed.
  expect(movedAt[0]).toBe(50)
  expect(stays).toEqual([1, 2, 4, 8, 16, 30, 30, 30, 30, 30])
  expect(split).toHaveLength(movedAt.length)
  expect(split[0]).toBe(
    'h1:5432 (timeline 1 of system 7) takes writes, and so does another system, h2:5432 (timeline 1 of system 8): ' +
      'the connection leads to both. Make it lead to one; until then everything of this process is on one of them, ' +
      'and changes over every 1 s at most',
  )
  // When the name has led to one for long, the next change is followed at once, and what comes after it waits.
  const there = primary.server?.system === '7' ? '8' : '7'
  clock.now += 301_000
  under.admit(on(1, there))
  expect(primary.server).toMatchObject({ system: there })
  expect(() => under.admit(on(1, there === '7' ? '8' : '7'))).toThrow('every 1 s at most')
})

test('a promotion is followed at once, also in the middle of such a back-off', () => {
  const { primary, admit, left } = primaryUnderTest()
  admit(on(1, '7'), h1)
  admit(on(1, '8'), h2, 'leads', 'there')
  expect(() => admit(on(1, '7'), h1)).toThrow('the connection leads to both')
  admit(on(2, '8'), h1)
  expect(primary.server).toMatchObject({ system: '8', timeline: 2 })
  expect(left).toEqual([expect.any(String), expect.stringMatching(/^there: /)])
})

test('a way of its own for sessions follows to a newer timeline, and does not lead to another system', () => {
  const { primary, admit, left } = primaryUnderTest()
  admit(on(1), h1, 'leads', 'pool')
  expect(() => admit(on(1, '8'), h2, 'follows')).toThrow(
    'listenConnectionString leads to h2:5432 (timeline 1 of system 8), ' +
      'and connectionString to another one, h1:5432 (timeline 1 of system 7)',
  )
  admit(on(2), h2, 'follows')
  expect(left).toHaveLength(1)
  expect(primary.server).toMatchObject({ timeline: 2 })
})

test('a server that does not tell who it is is admitted, and moves nothing', () => {
  const { primary, admit, moves, left } = primaryUnderTest()
  admit(unnamed, h1)
  expect(primary.server).toEqual({ ...h1, system: null, timeline: null })
  admit(unnamed, h2)
  admit(on(1), h2)
  admit(unnamed, h1)
  expect([moves, left]).toEqual([[], []])
  expect(primary.server).toMatchObject({ host: 'h2', timeline: 1 })
})

test('the host that was admitted last comes first; the others stay in their order', () => {
  const { primary, admit } = primaryUnderTest()
  const h3 = { host: 'h3', port: 5432 }
  expect(primary.inOrder([h1, h2, h3])).toEqual([h1, h2, h3])
  admit(on(1), h3)
  expect(primary.inOrder([h1, h2, h3])).toEqual([h3, h1, h2])
  admit(on(1), h2)
  expect(primary.inOrder([h1, h2, h3])).toEqual([h2, h3, h1])
  expect(() => admit(standby, h1)).toThrow()
  expect(primary.inOrder([h1, h2, h3])).toEqual([h2, h3, h1])
})

test('an identity is read as the statement tells it', () => {
  expect(readIdentity('7301234567890123456/0000000A')).toEqual({ system: '7301234567890123456', timeline: 10 })
  for (const none of [null, undefined, '', '7/2', 'x/00000001']) expect(readIdentity(none)).toBeNull()
  expect(describeServer({ host: '::1', port: 5, system: null, timeline: null })).toBe('[::1]:5')
})
