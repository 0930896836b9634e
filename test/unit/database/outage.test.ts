import { expect, test } from 'vitest'
import { createOutage } from '../../../src/database/outage.js'

test('a session or a statement that gets through in an outage ends the pauses of all', () => {
  const told: string[] = []
  const outage = createOutage({ emit: (name) => told.push(name) }, () => 0)
  const forget = outage.onWayFree(() => told.push('free'))
  const forgetEnd = outage.onEnd(() => told.push('end'))
  outage.answered()
  outage.gotThrough()
  expect(told).toEqual([])
  outage.down(new Error('away'))
  expect(outage.isDown).toBe(true)
  outage.gotThrough()
  outage.answered()
  expect(told).toEqual(['database:down', 'free', 'database:up', 'free', 'end'])
  expect(outage.isDown).toBe(false)
  outage.answered()
  outage.moved()
  forget()
  forgetEnd()
  outage.down(new Error('away'))
  outage.answered()
  expect(told.slice(5)).toEqual(['free', 'database:down', 'database:up'])
})
