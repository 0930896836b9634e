import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import { toError } from '../../src/errors.js'

test('an error of another realm is itself, with its name, code and what else it has', () => {
  const foreign = runInNewContext(
    `Object.assign(new RangeError('too much'), { code: 'BUSY', retryAfterMs: 5_000 })`,
  ) as unknown
  expect(foreign instanceof Error).toBe(false)
  expect(toError(foreign)).toBe(foreign)
})

test('what only looks like an error is none', () => {
  const likeness = { name: 'Error', message: 'no' }
  expect(toError(likeness)).toMatchObject({ message: `thrown: { name: 'Error', message: 'no' }`, cause: likeness })
})
