import { expect, test } from 'vitest'
import { bytesText, plural, shown } from '../../../src/terminal/text.js'

test('text of foreign origin has nothing left that moves the cursor, ends the line or turns the writing around', () => {
  const harmless = 'emails ä 日本 🎺 x̂ \\x1b'
  expect(shown(harmless)).toBe(harmless)
  for (const [character, text] of [
    ['\u001b', '\\x1b'], // Cc: escape
    ['\u009b', '\\x9b'], // Cc: a control sequence in one character
    ['\r', '\\x0d'],
    ['\n', '\\x0a'],
    ['\u007f', '\\x7f'],
    ['\u202e', '\\u{202e}'], // Cf: from right to left
    ['\u200b', '\\u{200b}'], // Cf: nothing to see
    ['\u{e0041}', '\\u{e0041}'], // Cf: a tag
    ['\u2028', '\\u{2028}'], // Zl
    ['\u2029', '\\u{2029}'], // Zp
  ] as const) {
    expect(shown(`a${character}b`)).toBe(`a${text}b`)
  }
})

test('figures for people', () => {
  expect([plural(1, 'job'), plural(1_200, 'job')]).toEqual(['1 job', '1,200 jobs'])
  expect([bytesText(1), bytesText(999), bytesText(1_000), bytesText(98_304_000)]).toEqual([
    ...['1 byte', '999 bytes', '1.0 kB', '98.3 MB'],
  ])
})
