import { expect, test } from 'vitest'
import { saslPrepared } from '../../../src/database/saslprep.js'

test.each([
  ['secret', 'secret'],
  ['pä€ss', 'pä€ss'],
  ['I\u00ADX', 'IX'],
  ['a\u00A0b', 'a b'],
  ['\u00AA', 'a'],
  ['\u2168', 'IX'],
  ['u\u0308', '\u00FC'],
])('%j is hashed as %j', (given, prepared) => {
  expect(saslPrepared(given)).toBe(prepared)
  expect(saslPrepared(prepared)).toBe(prepared)
})
