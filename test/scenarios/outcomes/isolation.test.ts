import { AsyncLocalStorage } from 'node:async_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import { test } from '../../support/database.js'
import { aborted } from '../../support/stopping.js'

/** Stores that are seen are those of the test itself, or of other jobs; `origin` is the consume() call's. */
const storage = new AsyncLocalStorage<string>()

test('what a handler enters in an AsyncLocalStorage no later handler sees, but what consume() was called in', async ({
  db,
}) => {
  const bugle = db.bugle()
  const seen = new Set<unknown>()
  const seenLater = new Map<string, unknown>()
  const consumer = await storage.run('origin', () =>
    bugle.consume(
      'q',
      async ({ id, payload }) => {
        seen.add(storage.getStore())
        storage.enterWith(id)
        if (payload === 'waits') await sleep(1)
        seenLater.set(id, storage.getStore())
        if (payload === 'throws') throw new Error('no')
      },
      { concurrency: 4, retryStrategy: false },
    ),
  )
  const kinds = ['at once', 'waits', 'throws']
  const ids = await bugle.putMany(
    'q',
    Array.from({ length: 60 }, (_, index) => kinds[index % 3]),
  )
  await consumer.idle()
  expect([...seen]).toEqual(['origin'])
  expect(seenLater).toEqual(new Map(ids.toSorted().map((id) => [id, id])))
  expect(await db.jobs()).toHaveLength(20)
})

test('nor do the listeners of events see it, also where a timer or the end of the run calls them', async ({ db }) => {
  const bugle = db.bugle()
  const seen = new Map<string, Set<unknown>>()
  const events = ['job:started', 'job:acked', 'job:failed', 'job:retrying', 'job:timeout', 'callback:error'] as const
  for (const name of events) {
    seen.set(name, new Set())
    bugle.on(name, () => {
      seen.get(name)?.add(storage.getStore())
      storage.enterWith(`a listener of ${name}`)
    })
  }
  const consumer = await bugle.consume(
    'q',
    async ({ id, payload }, context) => {
      expect(storage.getStore()).toBe(undefined)
      storage.enterWith(id)
      if (payload === 'times out') await aborted(context)
      if (payload === 'fails' || payload === 'is retried') throw new Error('no')
    },
    {
      concurrency: 2,
      timeoutMs: 50,
      retryStrategy: ({ payload }) => {
        storage.enterWith('a strategy')
        if (payload === 'is retried') return { delayMs: 3_600_000 }
        throw new Error('broken')
      },
    },
  )
  for (let round = 0; round < 3; round += 1) {
    await bugle.putMany('q', ['is acked', 'fails', 'is retried', 'times out', 'is acked'])
    await consumer.idle()
  }
  expect(seen).toEqual(new Map(events.map((name) => [name, new Set([undefined])])))
})

test('a run is one context: middleware, handler, retry strategy, onFailed and listeners of its signal', async ({
  db,
}) => {
  const bugle = db.bugle()
  const seen = new Map<string, unknown>()
  const look = (where: string): void => void seen.set(where, storage.getStore())
  const consumer = await bugle.consume(
    'q',
    async ({ id }, { signal }) => {
      look('handler')
      const end = new Promise((resolve) => {
        signal.addEventListener('abort', () => {
          look('signal')
          resolve(id)
        })
      })
      throw await end
    },
    {
      timeoutMs: 20,
      middleware: [
        (_job, _context, next) => {
          storage.enterWith('a middleware')
          return next()
        },
      ],
      retryStrategy: () => {
        look('strategy')
        return false
      },
      onFailed: () => look('onFailed'),
    },
  )
  await bugle.put('q', 1)
  await consumer.idle()
  expect(Object.fromEntries(seen)).toEqual({
    handler: 'a middleware',
    signal: 'a middleware',
    strategy: 'a middleware',
    onFailed: 'a middleware',
  })
  expect(storage.getStore()).toBe(undefined)
  seen.clear()
})
