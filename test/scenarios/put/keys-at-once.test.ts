import { expect } from 'vitest'
import type { Bugle } from '../../../src/index.js'
import { type TestDatabase, test } from '../../support/database.js'
import { keyModes } from '../../support/key-modes.js'
import { untilBlocked } from '../../support/lock-waits.js'
import { fullRows } from '../../support/rows.js'

const connections = 8

for (const keyMode of keyModes) {
  test(`H5 ${keyMode}: ${connections} puts of one key at once, 100 rounds: one waiting job each`, async ({ db }) => {
    // Half of the pool is for puts.
    const bugle = db.bugle({ poolSize: 2 * connections })
    for (let round = 0; round < 100; round += 1) {
      const key = `key ${round}`
      const answers = await Promise.allSettled(
        Array.from({ length: connections }, (_, n) => bugle.put('q', n, { key, keyMode })),
      )
      const ids = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []))
      const errors = answers.flatMap((answer) => (answer.status === 'rejected' ? [answer.reason.code] : []))
      expect(new Set(ids).size).toBe(1)
      expect(errors).toEqual(keyMode === 'reject' ? Array(connections - 1).fill('KEY_TAKEN') : [])
    }
    const rows = await fullRows(db)
    expect(new Set(rows.map(({ key }) => key)).size).toBe(100)
    expect(rows).toHaveLength(100)
    expect(await db.backends('')).toHaveLength(connections)
  })
}

for (const mode of ['replace', 'keep'] as const) {
  test(`H5 ${mode}: puts against a consumer that takes their jobs: each put is followed by a run of its job`, async ({
    db,
  }) => {
    const bugle = db.bugle({ poolSize: 12 })
    // Puts and runs in the order in which they begin in this process.
    let clock = 0
    const runs = new Map<string, { at: number; n: number }[]>()
    const consumer = await bugle.consume('q', ({ id, payload }) => {
      clock += 1
      runs.set(id, [...(runs.get(id) ?? []), { at: clock, n: payload as number }])
    })
    const puts: { id: string; at: number; n: number }[] = []
    await Promise.all(
      ['a', 'b', 'c', 'd'].map(async (key) => {
        for (let n = 0; n < 150; n += 1) {
          clock += 1
          const at = clock
          puts.push({ id: await bugle.put('q', n, { key, keyMode: mode }), at, n })
        }
      }),
    )
    await consumer.idle()
    expect(await db.jobs()).toEqual([])
    const lost = puts.filter(({ id, at, n }) => {
      // A replaced job runs with what was put then, or later.
      return !runs.get(id)?.some((run) => run.at > at && (mode === 'keep' || run.n >= n))
    })
    expect(lost).toEqual([])
    expect([...runs.values()].every((all) => all.length === 1)).toBe(true)
  })
}

/** An instance whose server looks for deadlocks at once, and not after a second. */
async function quickDeadlocks(db: TestDatabase): Promise<Bugle> {
  const role = `role_${db.schema.slice(5)}`
  await db.sql.unsafe(`create role ${role} superuser login; alter role ${role} set deadlock_timeout = '10ms'`)
  const url = Object.assign(new URL(db.connectionString), { username: role })
  return db.bugle({ connectionString: url.href, poolSize: 2 * connections })
}

async function dropRole(db: TestDatabase, bugle: Bugle): Promise<void> {
  await bugle.close()
  await db.sql.unsafe(`drop role role_${db.schema.slice(5)}`)
}

for (const keyMode of keyModes) {
  test(`H5 ${keyMode}: two batches with the same keys in opposite orders, deadlocked for certain`, async ({ db }) => {
    const bugle = await quickDeadlocks(db)
    const stranger = db.connect()
    await stranger.unsafe(`begin; insert into ${db.s}.job (queue, key) values ('q', 'middle')`)
    const keys = ['left', 'middle', 'right']
    const put = (order: string[]) =>
      bugle.putMany('q', order, (key) => ({ key: key as string, keyMode })).catch((error) => error)
    const putting = [put(keys), put(keys.toReversed())] as const
    // Each has its first key, and waits for the stranger's. Let go, one gets it, and wants what the other has.
    await untilBlocked(db, 2)
    await stranger.unsafe('rollback')
    const [first, second] = await Promise.all(putting)
    const rows = await fullRows(db)
    expect(rows.map(({ key }) => key).sort()).toEqual(keys)
    const idOf = (key: string) => rows.find((row) => row.key === key)?.id
    const expected = [keys.map(idOf), keys.toReversed().map(idOf)]
    if (keyMode === 'reject') {
      const answers = [first, second]
      expect(answers.filter(Array.isArray)).toHaveLength(1)
      expect(answers.find((answer) => !Array.isArray(answer))).toMatchObject({ code: 'KEY_TAKEN' })
    } else {
      expect([first, second]).toEqual(expected)
    }
    await dropRole(db, bugle)
  })
}

test('H5 many batches with the same keys in opposite orders, all at once: all succeed', async ({ db }) => {
  const bugle = await quickDeadlocks(db)
  const keys = Array.from({ length: 60 }, (_, n) => `key ${n}`)
  for (const keyMode of ['replace', 'keep'] as const) {
    for (let round = 0; round < 5; round += 1) {
      const answers = await Promise.all(
        Array.from({ length: 4 }, (_, n) =>
          bugle.putMany('q', n % 2 ? keys : keys.toReversed(), (key) => ({
            key: `${round} ${keyMode} ${key}`,
            keyMode,
          })),
        ),
      )
      expect(answers[1]).toEqual(answers[3])
      for (const n of [0, 2]) expect(answers[n]?.toReversed()).toEqual(answers[1])
    }
  }
  expect(await fullRows(db)).toHaveLength(600)
  await dropRole(db, bugle)
})
