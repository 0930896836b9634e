import type postgres from 'postgres'
import { expect } from 'vitest'
import { loadStatements } from '../../../src/database/statements.js'
import { test } from '../../support/database.js'
import { until } from '../../support/until.js'

interface Counted {
  others: number
  before: number
}

test('doze: those that doze are in one order, and heartbeats tell the same of it', async ({ db }) => {
  const { doze, heartbeat } = loadStatements(db.schema)
  const sessions = Array.from({ length: 5 }, () => db.connect())
  const count = async (session: postgres.Sql, takes = 'false'): Promise<Counted> => {
    const [row] = await session.unsafe<Counted[]>(doze, ['q', takes])
    return { others: row?.others ?? -1, before: row?.before ?? -1 }
  }
  const beat = async (session: postgres.Sql, queues: readonly string[]): Promise<unknown> => {
    const [row] = await session.unsafe<{ dozers: string }[]>(heartbeat, [
      ...['7', '5000', '300000', '[]', '[]'],
      JSON.stringify(queues),
    ])
    return JSON.parse(row?.dozers ?? '')
  }
  const places = (counted: readonly Counted[]): number[] => counted.map(({ before }) => before).sort()

  await Promise.all(sessions.map((session) => count(session, 'true')))
  const counted = await Promise.all(sessions.map((session) => count(session)))
  expect(counted.map(({ others }) => others)).toEqual([4, 4, 4, 4, 4])
  expect(places(counted)).toEqual([0, 1, 2, 3, 4])
  for (const [index, session] of sessions.entries()) {
    expect(await beat(session, ['q', 'another'])).toEqual([
      { queue: 'q', ...counted[index] },
      { queue: 'another', others: 0, before: 0 },
    ])
    expect(await beat(session, [])).toEqual([])
  }

  // The first one goes, and its place is taken.
  const first = counted.findIndex(({ before }) => before === 0)
  await sessions[first]?.end()
  const left = sessions.filter((_, index) => index !== first)
  await until(async () => (await count(left[0] as postgres.Sql)).others === 3)
  expect(places(await Promise.all(left.map((session) => count(session))))).toEqual([0, 1, 2, 3])
})
