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
