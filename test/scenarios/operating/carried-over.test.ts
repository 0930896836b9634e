import { readFileSync } from 'node:fs'
import { expect } from 'vitest'
import { test } from '../../support/database.js'

// No release has had that schema, so no migration leads on from it: its data are restored into the new one, of whose
// columns they had a part.
test('H3 the data of the schema before the first release are restored into today’s, and go on', async ({ db }) => {
  const dump = readFileSync(new URL('../../support/former-data.sql', import.meta.url), 'utf8')
  await db.sql.unsafe(dump.replaceAll('bugle.', () => `${db.s}.`))
  const bugle = db.bugle({ rescueAfterMs: 300 })
  const { jobs } = await bugle.jobs()
  expect(jobs).toMatchObject([
    { id: '6', state: 'failed', error: { message: 'no' }, errors: [{ message: 'no' }] },
    { id: '5', state: 'running', workerId: '4711' },
    { id: '4', state: 'scheduled', kind: 'later', priority: 5, progress: 'half', attempt: 1, maxAttempts: 5 },
    { id: '3', state: 'ready', key: 'k', flags: ['eu'] },
    { id: '2', state: 'archived', result: 'done' },
  ])
  expect(await bugle.put('q', 'again', { key: 'k' })).toBe('3')
  const added = await bugle.put('q', 'new')
  expect(Number(added)).toBeGreaterThan(6)
  expect(await bugle.requeue('6')).toBe(1)
  expect(await bugle.requeue('2')).toBe(1)
  expect(await bugle.edit('4', { delayMs: 0 })).toBe(true)
  const rescued = db.collect(bugle, 'worker:rescued')
  const seen: string[] = []
  const consumer = await bugle.consume('q', ({ id, attempt }) => void seen.push(`${id} ${attempt}`))
  expect(await rescued.next()).toMatchObject({ deadWorkerId: '4711', jobs: 1 })
  await consumer.idle()
  expect(seen.sort()).toEqual(['2 1', '3 1', '4 2', '5 2', '6 1', `${added} 1`])
  expect((await bugle.stats()).queues).toMatchObject([{ queue: 'paused', isPaused: true }, { queue: 'q' }])
})
