import { expect } from 'vitest'
import { reject } from '../../../src/index.js'
import { test } from '../../support/database.js'
import { hostile } from '../../support/hostile.js'

const brokenListeners: Record<string, () => unknown> = {
  throws: () => {
    throw new Error('a listener')
  },
  rejects: () => Promise.reject(new Error('a listener')),
}

for (const [what, broken] of Object.entries(brokenListeners)) {
  test(`D1 an event listener that ${what} becomes callback:error, and hurts nothing`, async ({ db }) => {
    const bugle = db.bugle()
    const errors = db.collect(bugle, 'callback:error')
    const names = [
      'job:started',
      'job:acked',
      'job:failed',
      'consumer:started',
      'consumer:stopping',
      'consumer:stopped',
      'listener:health',
    ] as const
    for (const name of names) bugle.on(name, broken)
    // A listener after the broken one is called all the same.
    const acked = db.collect(bugle, 'job:acked')
    const consumer = await bugle.consume('emails', ({ payload }) => (payload === 2 ? reject('no') : undefined), {
      concurrency: 1,
    })
    await bugle.putMany('emails', [1, 2, 3])
    await consumer.idle()
    expect(await consumer.stop()).toMatchObject({ completed: 2, failed: 1 })
    expect(acked.all).toHaveLength(2)
    expect(await db.jobs()).toMatchObject([{ payload: 2, state: 'failed' }])
    // started 3, acked 2, failed 1, the consumer's three, and live and stopped of the listener
    expect(errors.all.map(({ where, error }) => [where, error.message])).toEqual(
      Array.from({ length: 3 + 2 + 1 + 3 + 2 }, () => ['listener', 'a listener']),
    )
  })
}

const listenersThrow: Record<string, () => unknown> = {
  undefined: () => undefined,
  'a string': () => 'text',
  ...hostile,
}

for (const [what, value] of Object.entries(listenersThrow)) {
  test(`D1 an event listener that throws ${what}, or rejects with it, hurts nothing`, async ({ db }) => {
    const bugle = db.bugle()
    const errors = db.collect(bugle, 'callback:error')
    bugle.on('job:started', () => {
      throw value()
    })
    bugle.on('job:acked', () => Promise.reject(value()))
    // What a listener of this event throws is not reported again.
    bugle.on('callback:error', () => {
      throw value()
    })
    const consumer = await bugle.consume('emails', () => {}, { concurrency: 1, retryStrategy: false })
    await bugle.putMany('emails', [1, 2])
    await consumer.idle()
    expect(await db.jobs()).toEqual([])
    for (let n = 0; n < 4; n += 1) expect((await errors.next()).error).toBeInstanceOf(Error)
  })
}

test('D1 a listener that is added once is called once, and one that is taken off no more', async ({ db }) => {
  const bugle = db.bugle()
  const seen: string[] = []
  const off = (): void => void seen.push('off')
  bugle.once('job:acked', () => void seen.push('once'))
  bugle.on('job:acked', off)
  bugle.off('job:acked', off)
  const consumer = await bugle.consume('emails', () => {})
  await bugle.putMany('emails', [1, 2])
  await consumer.idle()
  expect(seen).toEqual(['once'])
})
