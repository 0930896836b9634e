import { afterEach, expect, test } from 'vitest'
import type { StopOptions } from '../../src/options.js'
import { listenToSignals } from '../../src/signals.js'

const ends: (() => void)[] = []

afterEach(() => {
  for (const end of ends.splice(0)) end()
})

function instance(): { times: StopOptions[]; end: () => void } {
  const times: StopOptions[] = []
  const end = listenToSignals(async (given) => void times.push(given))
  ends.push(end)
  return { times, end }
}

function listeners(): number[] {
  return [process.listenerCount('SIGINT'), process.listenerCount('SIGTERM')]
}

test('however many instances listen, the process has one listener per signal; after the last one it has none', () => {
  const before = listeners()
  const one = before.map((count) => count + 1)
  const instances = Array.from({ length: 11 }, instance)
  expect(listeners()).toEqual(one)
  for (const { end } of instances.slice(1)) end()
  expect(listeners()).toEqual(one)
  instances[0]?.end()
  expect(listeners()).toEqual(before)
  // Ended twice: as once.
  const next = instance()
  instances[0]?.end()
  expect(listeners()).toEqual(one)
  next.end()
  expect(listeners()).toEqual(before)
})

test('each instance counts the signals that came since it listens', () => {
  const first = instance()
  process.emit('SIGTERM', 'SIGTERM')
  const second = instance()
  process.emit('SIGINT', 'SIGINT')
  first.end()
  process.emit('SIGTERM', 'SIGTERM')
  expect(first.times).toEqual([{}, { graceMs: 0 }])
  expect(second.times).toEqual([{}, { graceMs: 0 }])
})
