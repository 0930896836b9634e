import { expect } from 'vitest'
import type { Job } from '../../../src/index.js'
import { test } from '../../support/database.js'
import { fullRows } from '../../support/rows.js'

for (const concurrency of [1, 7]) {
  for (const by of ['a function', 'a map of kinds'] as const) {
    test(`priority: with ${concurrency} slots and ${by}, jobs start by priority, then id, across kinds`, async ({
      db,
    }) => {
      const bugle = db.bugle()
      const kinds = ['a', 'b', 'c']
      const jobs = Array.from({ length: 90 }, (_, n) => ({
        n,
        kind: kinds[(n * 5) % 3] ?? '',
        priority: [0, -32_768, 3, 32_767, -1, 3][(n * 7) % 6] ?? 0,
        // Some are for others, among them the first of all.
        flags: n % 10 === 3 ? ['gpu'] : [],
      }))
      const ids = await bugle.putMany('q', jobs, (_, index) => {
        const { kind = '', priority = 0, flags = [] } = jobs[index] ?? {}
        return { kind, priority, flags }
      })
      if (by === 'a map of kinds') await bugle.put('q', 'first of all', { kind: 'other', priority: 32_767 })
      const started: unknown[] = []
      const start = (job: Job): void => void started.push([job.id, job.kind, job.priority])
      const handlers = by === 'a function' ? start : { a: start, b: start, c: start }
      const consumer = await bugle.consume('q', handlers, { concurrency, withoutFlags: ['gpu'] })
      await consumer.idle()
      const mine = jobs.filter(({ flags }) => flags.length === 0)
      expect(started).toEqual(
        mine
          .toSorted((a, b) => b.priority - a.priority || a.n - b.n)
          .map(({ n, kind, priority }) => [ids[n], kind, priority]),
      )
      const left = (await fullRows(db)).map(({ state }) => state)
      expect(left).toEqual(Array(by === 'a function' ? 9 : 10).fill('ready'))
    })
  }
}
