import { on, once } from 'node:events'
import { expect, test } from 'vitest'
import { createEvents } from '../../src/events.js'

const data = { queue: null, downMs: 1 }

test('a listener that is on, and once as well, stays on', () => {
  const events = createEvents()
  let calls = 0
  const listener = (): void => {
    calls += 1
  }
  events.on('database:up', listener)
  events.once('database:up', listener)
  events.emit('database:up', data)
  events.emit('database:up', data)
  expect(calls).toBe(3)
  events.off('database:up', listener)
  events.emit('database:up', data)
  expect(calls).toBe(3)
  expect(events.has('database:up')).toBe(false)
})

test('a listener that throws keeps no other from hearing, and is told of', () => {
  const events = createEvents()
  const told: string[] = []
  events.on('callback:error', ({ where, error }) => told.push(`${where}: ${error.message}`))
  events.on('database:up', () => {
    throw new Error('one')
  })
  events.on('database:up', () => told.push('heard'))
  events.emit('database:up', data)
  expect(told).toEqual(['listener: one', 'heard'])
})

test('what on and once return ends them: called, or at the end of a using block', () => {
  const events = createEvents()
  const told: string[] = []
  const end = events.on('database:up', () => told.push('on'))
  const same = (): void => void told.push('same')
  events.on('database:up', same)
  const endTwin = events.on('database:up', same)
  const endOnce = events.once('database:up', () => told.push('once'))
  events.emit('database:up', data)
  expect(told.splice(0)).toEqual(['on', 'same', 'same', 'once'])
  endOnce()
  // Of two with one function only its own.
  endTwin()
  end[Symbol.dispose]()
  end()
  events.emit('database:up', data)
  expect(told).toEqual(['same'])
})

test('without a listener: an iterator from that call on, which the signal ends', async () => {
  const events = createEvents()
  const controller = new AbortController()
  const stream = events.on('database:up', { signal: controller.signal })
  events.emit('database:up', data)
  events.emit('database:up', { ...data, downMs: 2 })
  const seen: number[] = []
  for await (const { downMs } of stream) {
    seen.push(downMs)
    if (downMs === 2) setImmediate(() => events.emit('database:up', { ...data, downMs: 3 }))
    if (downMs === 3) controller.abort()
  }
  expect(seen).toEqual([1, 2, 3])
  expect(events.has('database:up')).toBe(false)
})

test('an iterator ends: its loop is left, its signal is aborted already, or the instance closes', async () => {
  const events = createEvents()
  const left = events.on('database:up')
  events.emit('database:up', data)
  for await (const _ of left) break
  expect(events.has('database:up')).toBe(false)
  for await (const _ of events.on('database:up', { signal: AbortSignal.abort() })) expect.unreachable()

  const closing = events.on('database:up')
  const waiting = events.on('database:up').next()
  events.emit('database:down', { queue: null, error: new Error('other') })
  events.emit('database:up', data)
  events.end(new Error('closed'))
  const seen: unknown[] = []
  for await (const one of closing) seen.push(one)
  expect(seen).toEqual([data])
  expect(await waiting).toEqual({ value: data, done: false })
  expect(events.has('database:up')).toBe(false)
})

test('once without a listener is a promise: of the next event, of the signal’s reason, or of the close', async () => {
  const events = createEvents()
  const next = events.once('database:up')
  events.emit('database:up', data)
  expect(await next).toBe(data)
  const controller = new AbortController()
  const aborted = events.once('database:up', { signal: controller.signal })
  controller.abort(new Error('enough'))
  await expect(aborted).rejects.toThrow('enough')
  await expect(events.once('database:up', { signal: controller.signal })).rejects.toThrow('enough')
  const closed = events.once('database:up')
  // Nobody waits for this one: it ends no process.
  void events.once('database:up')
  events.end(new Error('closed'))
  await expect(closed).rejects.toThrow('closed')
  expect(events.has('database:up')).toBe(false)
  // Nothing comes after that: whoever asks then must not wait for ever.
  await expect(events.once('database:up')).rejects.toThrow('closed')
  expect(await events.on('database:up').next()).toEqual({ value: undefined, done: true })
  expect(events.has('database:up')).toBe(false)
})

test('node:events takes it: once, and on with a signal', async () => {
  const events = createEvents()
  const emitter = events as unknown as NodeJS.EventEmitter
  const next = once(emitter, 'database:up')
  events.emit('database:up', data)
  expect(await next).toEqual([data])
  const controller = new AbortController()
  const { signal } = controller
  const aborted = once(emitter, 'database:up', { signal })
  const iterator = on(emitter, 'database:up', { signal })
  events.emit('database:up', data)
  expect(await aborted).toEqual([data])
  expect(await iterator.next()).toEqual({ value: [data], done: false })
  controller.abort()
  await expect(iterator.next()).rejects.toMatchObject({ name: 'AbortError' })
  expect(events.has('database:up')).toBe(false)
  expect(events.has('error' as never)).toBe(false)
})

test('what is no event, no listener and no option is refused', () => {
  const events = createEvents()
  const bad: [() => unknown, RegExp][] = [
    [() => events.on('database:upp' as never, () => {}), /did you mean database:up/],
    [() => events.on('database:upp' as never), /did you mean database:up/],
    [() => events.on('database:up', undefined as never), /listener.*must be a function/],
    [() => events.once('database:up', null as never), /listener.*must be a function/],
    [() => events.on('database:up', { sginal: 1 } as never), /did you mean signal/],
    [() => events.on('database:up', { signal: 1 } as never), /signal must be an AbortSignal/],
  ]
  for (const [act, message] of bad) expect(act).toThrow(message)
})
