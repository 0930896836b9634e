import { describe, expect } from 'vitest'
import { test } from '../../support/database.js'
import { lateCommit, lockedRow, race } from '../../support/races.js'

// 10,000 a scenario were run once for the record (BUGLE_TEST_RACES=10000); every run does fewer.
const jobs = Number(process.env.BUGLE_TEST_RACES ?? (process.env.BUGLE_TEST_SLOW ? 1_000 : 300))
// Few lanes: with many, their common control session is busy, and falling asleep too slow to be raced.
const lanes = 4
const rounds = Math.ceil(jobs / lanes)

describe('random moments around falling asleep, sweeps off', () => {
  for (const isolation of ['read committed', 'repeatable read'] as const) {
    test(`B4 commits after the consumer fell asleep, ${isolation}: none is lost`, { timeout: 240_000 }, async ({
      db,
    }) => {
      const plan = { lanes, rounds, round: lateCommit(isolation, db.s), givesUp: false }
      expect(await race(db, db.bugle(), plan)).toEqual({ put: lanes * rounds, run: lanes * rounds, lost: 0 })
      expect(await db.jobs()).toEqual([])
    })
  }

  test('B15 rows that others lock around the moment of sleep: none is lost', { timeout: 240_000 }, async ({ db }) => {
    const plan = { lanes, rounds, round: lockedRow(db.s), givesUp: false }
    expect(await race(db, db.bugle(), plan)).toEqual({ put: lanes * rounds, run: lanes * rounds, lost: 0 })
    expect(await db.jobs()).toEqual([])
  })
})
