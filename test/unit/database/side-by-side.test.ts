import { getEventListeners } from 'node:events'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { sideBySide } from '../../../src/database/side-by-side.js'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

/** A host: each try of it waits until the test says what comes of it. */
function host(name: string) {
  const tries: { succeed: () => void; fail: () => void; signal: AbortSignal }[] = []
  return {
    tries,
    begin: (signal: AbortSignal) =>
      new Promise<string>((resolve, reject) => {
        tries.push({ succeed: () => resolve(name), fail: () => reject(new Error(name)), signal })
        signal.addEventListener('abort', () => reject(signal.reason), { once: true })
      }),
  }
}

function race(hosts: readonly ReturnType<typeof host>[], signal?: AbortSignal, lasting?: string) {
  const discarded: string[] = []
  const tries = hosts.map(({ begin }) => begin)
  const discard = (late: string): void => void discarded.push(late)
  const isLasting = (error: unknown): boolean => error instanceof Error && error.message === lasting
  const winner = sideBySide(tries, { headStartMs: 250, againMs: 1_000, signal, discard, isLasting })
  winner.catch(() => {})
  return { winner, discarded, counts: () => hosts.map((each) => each.tries.length) }
}

const pass = (ms: number): Promise<unknown> => vi.advanceTimersByTimeAsync(ms)

test('one that is silent loses its head start, and the next one wins; the silent one is ended', async () => {
  const [silent, well] = [host('silent'), host('well')]
  const { winner, counts } = race([silent, well])
  await pass(249)
  expect(counts()).toEqual([1, 0])
  await pass(1)
  expect(counts()).toEqual([1, 1])
  well.tries[0]?.succeed()
  expect(await winner).toBe('well')
  expect(silent.tries[0]?.signal.aborted).toBe(true)
  expect(vi.getTimerCount()).toBe(0)
})

test('one that fails makes way at once; when all have failed, the last one’s error is thrown', async () => {
  const hosts = [host('a'), host('b'), host('c')]
  const { winner, counts } = race(hosts)
  hosts[0]?.tries[0]?.fail()
  await pass(0)
  expect(counts()).toEqual([1, 1, 0])
  hosts[1]?.tries[0]?.fail()
  await pass(0)
  hosts[2]?.tries[0]?.fail()
  await expect(winner).rejects.toThrow('c')
  expect(counts()).toEqual([1, 1, 1])
  expect(vi.getTimerCount()).toBe(0)
})

test('one that has refused is asked again while another is silent: it may be promoted meanwhile', async () => {
  const [silent, standby] = [host('silent'), host('standby')]
  const { winner, counts } = race([silent, standby])
  await pass(250)
  standby.tries[0]?.fail()
  await pass(999)
  expect(counts()).toEqual([1, 1])
  await pass(1)
  standby.tries[1]?.succeed()
  expect(await winner).toBe('standby')
  expect(counts()).toEqual([1, 2])
})

test('when the silent one fails at last, all have failed: nobody is asked again', async () => {
  const [silent, standby] = [host('silent'), host('standby')]
  const { winner, counts } = race([silent, standby])
  await pass(250)
  standby.tries[0]?.fail()
  await pass(500)
  silent.tries[0]?.fail()
  await expect(winner).rejects.toThrow('standby')
  await pass(5_000)
  expect(counts()).toEqual([1, 1])
})

test('where one fails for good and another for now, what is thrown is the reason that may pass', async () => {
  const [starting, unknown] = [host('starting'), host('unknown')]
  const { winner } = race([starting, unknown], undefined, 'unknown')
  await pass(250)
  starting.tries[0]?.fail()
  unknown.tries[0]?.fail()
  await expect(winner).rejects.toThrow('starting')
})

test('what comes too late is handed back, and an abort ends all with its reason', async () => {
  const [one, other] = [host('one'), host('other')]
  const { winner, discarded } = race([one, other])
  await pass(250)
  one.tries[0]?.succeed()
  other.tries[0]?.succeed()
  expect(await winner).toBe('one')
  expect(discarded).toEqual(['other'])

  const ending = new AbortController()
  const late = host('late')
  const aborted = race([late], ending.signal)
  ending.abort(new Error('enough'))
  await expect(aborted.winner).rejects.toThrow('enough')
  expect(late.tries[0]?.signal.aborted).toBe(true)
  await expect(race([late], ending.signal).winner).rejects.toThrow('enough')
  expect(late.tries).toHaveLength(1)
})

test('a signal that outlives many races remembers none of them', async () => {
  const { signal } = new AbortController()
  for (let races = 0; races < 5; races += 1) {
    const well = host('well')
    const { winner } = race([well], signal)
    well.tries[0]?.succeed()
    await winner
  }
  expect(getEventListeners(signal, 'abort')).toEqual([])
  // What AbortSignal.any leaves there.
  const own = Object.getOwnPropertySymbols(signal).map((symbol) => Reflect.get(signal, symbol))
  expect(own.filter((value) => value?.size > 0)).toEqual([])
})
