import type postgres from 'postgres'
import { expect } from 'vitest'
import { lowestId } from '../../../src/consume/claim.js'
import { loadStatements } from '../../../src/database/statements.js'
import { test } from '../../support/database.js'

const claims = {
  claim: [],
  claim_kinds: ['{a}'],
  claim_some: [null, 'false', '{}'],
  claim_listed: ['{1,2}'],
} as const

test('a claim commits asynchronously where it is told to, and nothing after it does', async ({ db }) => {
  const session = db.connect()
  const statements = loadStatements(db.schema)
  await session.unsafe(statements.worker_insert, ['7', 'w', 'h', 1, '0', 5_000, 300_000])
  const commits = async () => (await session`select current_setting('synchronous_commit') as commits`)[0]?.commits
  for (const [name, more] of Object.entries(claims)) {
    for (const jobs of [0, 1, 2]) {
      for (const may of ['true', 'false']) {
        await db.sql.unsafe(`delete from ${db.s}.job`)
        await db.sql.unsafe(`
          insert into ${db.s}.job (id, queue, kind, payload) overriding system value
          select n, 'emails', 'a', '1' from generate_series(1, ${jobs}) as n`)
        const text = statements[name as keyof typeof claims]
        const values = ['emails', 2, '7', null, null, null, lowestId, 'true', may, ...more]
        const which = `${name} of ${jobs} jobs, ${may}`
        await session`begin`
        const rows = await session.unsafe(text, values)
        expect(await commits(), which).toBe(may === 'true' ? 'off' : 'on')
        await session`rollback`
        // The last row is about the queue, and has no column beside its signs.
        expect(rows.length, which).toBe(jobs + 1)
        const { signs, ...rest } = rows.at(-1) as postgres.Row
        expect(signs, which).toBeTruthy()
        expect(new Set(Object.values(rest)), which).toEqual(new Set([null]))

        await session.unsafe(text, values)
        expect(await commits(), which).toBe('on')
        const running = await db.sql.unsafe(`select from ${db.s}.job where state = 'running'`)
        expect(running.length, which).toBe(jobs)
      }
    }
  }
})
