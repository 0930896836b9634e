import { expect, onTestFinished, test, vi } from 'vitest'
import type { StatementName } from '../../../src/database/statements.js'
import type { Look, OtherWorker } from '../../../src/worker/observations.js'
import { createRescue } from '../../../src/worker/rescue.js'
import { signal } from '../../support/signal.js'

const other: OtherWorker = { id: '2', seenAt: 'then', rescueAfterMs: 1_000, hungAfterMs: 100_000 }

/** `asked` resolves when somebody asks who holds the locks; `answer` says that nobody does. */
function underTest() {
  const asked = signal()
  const holders = signal<never[]>()
  const collected = signal<never[]>()
  const sent: StatementName[] = []
  const rescue = createRescue({
    database: {
      async query<Row>(name: StatementName): Promise<Row[]> {
        sent.push(name)
        if (name === 'rescue') return collected.promise
        if (name !== 'presence_holders') return []
        asked.resolve()
        return holders.promise
      },
    },
    events: { emit: () => {} },
    rescueAfterMs: 1_000,
    maxCrashes: 3,
    random: () => 0.5,
  })
  function look(ms: number, isBack = false): void {
    const seen: Look = { others: [other], sentAt: ms, answeredAt: ms + 1 }
    rescue.look(seen, isBack)
  }
  return {
    rescue,
    sent,
    look,
    asked: asked.promise,
    answer: () => holders.resolve([]),
    collect: () => collected.resolve([]),
  }
}

test('one that has not been seen for its word, and whose lock nobody holds, is buried', async () => {
  const { rescue, sent, look, asked, answer } = underTest()
  rescue.start()
  look(0)
  look(1_500)
  await asked
  answer()
  while (!sent.includes('worker_bury')) await new Promise((resolve) => setImmediate(resolve))
  await rescue.stop()
  expect(sent).toEqual(['presence_holders', 'worker_bury'])
})

test('an answer that comes after a return of ours buries nobody: a restart has freed the locks of all', async () => {
  const { rescue, sent, look, asked, answer } = underTest()
  rescue.start()
  look(0)
  look(1_500)
  await asked
  look(2_000, true)
  answer()
  await rescue.stop()
  expect(sent).toEqual(['presence_holders'])
})

test('a verdict that waited for a collect, and for a return of ours meanwhile, is no longer asked for', async () => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const { rescue, sent, look, answer, collect } = underTest()
  rescue.start()
  look(0)
  await vi.advanceTimersByTimeAsync(1_500)
  expect(sent).toEqual(['rescue'])
  look(1_500)
  look(2_000, true)
  answer()
  collect()
  await vi.advanceTimersByTimeAsync(10)
  await rescue.stop()
  expect(sent).not.toContain('worker_bury')
})

test('workers that come and go do not put the look for orphans off', async () => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const { rescue, sent, collect } = underTest()
  rescue.start()
  for (let ms = 0; ms < 1_500; ms += 250) {
    const others = ms % 500 === 0 ? [other] : []
    rescue.look({ others, sentAt: ms, answeredAt: ms + 1 }, false)
    await vi.advanceTimersByTimeAsync(250)
  }
  expect(sent).toContain('rescue')
  collect()
  await rescue.stop()
})
