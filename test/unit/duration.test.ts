import { expect, test } from 'vitest'
import { resolveConsumerOptions } from '../../src/consume/options.js'
import { type Duration, parseDuration } from '../../src/duration.js'
import { resolveBugleOptions, resolveStopTimes } from '../../src/options.js'
import { partial, release, retry } from '../../src/outcome.js'
import { resolvePutOptions } from '../../src/put/options.js'
import { fixed } from '../../src/retry.js'

const durations: readonly (readonly [text: Duration & string, ms: number])[] = [
  ['250ms', 250],
  ['90s', 90_000],
  ['1.5h', 5_400_000],
  ['1.1h', 3_960_000],
  ['2.01s', 2_010],
  ['15m', 900_000],
  ['7d', 604_800_000],
  ['2w', 1_209_600_000],
  ['1y', 31_557_600_000],
  ['0s', 0],
  ['0.5ms', 0.5],
]

test.each(durations)('%s is %d ms', (text, ms) => {
  expect(parseDuration(text)).toBe(ms)
})

test.each([
  '5',
  '6M',
  '5 m',
  '5 minutes',
  '',
  ' 5m',
  '5m ',
  '-5m',
  '1e3s',
  '5S',
  'm',
  '5m5s',
  '٥m',
  '0x5s',
  '1'.repeat(400),
])('%s is no duration', (text) => {
  expect(parseDuration(text)).toBeUndefined()
})

test('every duration with two digits after the point is a whole number of milliseconds, as it is one on paper', () => {
  for (const [unit, ms] of [
    ['s', 1_000],
    ['m', 60_000],
    ['h', 3_600_000],
    ['d', 86_400_000],
    ['w', 604_800_000],
    ['y', 31_557_600_000],
  ] as const) {
    for (let hundredths = 1; hundredths < 400; hundredths += 1) {
      expect(parseDuration(`${hundredths / 100}${unit}`)).toBe((hundredths * ms) / 100)
    }
  }
})

test('a text that is no whole number of milliseconds is rounded up, wherever it is given', () => {
  expect(resolvePutOptions({ timeoutMs: '0.5ms', delayMs: '1.0001s' })).toMatchObject({ timeoutMs: 1, delayMs: 1_001 })
})

test('nothing is nothing in any unit', () => {
  expect(parseDuration('0')).toBe(0)
})

test('every option that is a time takes one, and keeps plain numbers as milliseconds', () => {
  const instance = resolveBugleOptions(
    {
      connectionString: 'postgres://localhost',
      sweepMs: '1m',
      rescueAfterMs: '10s',
      hungAfterMs: '1h',
      graceMs: '2m',
      abortMs: 500,
      keep: { failedForMs: '30d', archivedForMs: '1w' },
    },
    {},
  )
  expect(instance).toMatchObject({
    sweepMs: 60_000,
    rescueAfterMs: 10_000,
    hungAfterMs: 3_600_000,
    graceMs: 120_000,
    abortMs: 500,
    keep: { failedForMs: 2_592_000_000, archivedForMs: 604_800_000 },
  })
  expect(resolveConsumerOptions({ timeoutMs: '5m', graceMs: '1s' })).toMatchObject({
    timeoutMs: 300_000,
    graceMs: 1_000,
  })
  expect(resolvePutOptions({ delayMs: '2h', timeoutMs: '90s' })).toMatchObject({
    delayMs: 7_200_000,
    timeoutMs: 90_000,
  })
  expect(resolveStopTimes({ graceMs: '1m' }, { graceMs: 1, abortMs: 2 })).toEqual({ graceMs: 60_000, abortMs: 2 })
  expect([retry({ delayMs: '1m' }), release({ delayMs: '5s' }), partial(1, { delayMs: '2s' })]).toMatchObject([
    { delayMs: 60_000 },
    { delayMs: 5_000 },
    { delayMs: 2_000 },
  ])
})

test('a retry strategy waits for one', async () => {
  const answer = await fixed({ delayMs: '2m' })({ attempt: 1 } as never, new Error('x'))
  expect(answer).toMatchObject({ delaysMs: 120_000 })
})

test('what is none is refused with what there is, and the unit that was forgotten is not guessed', () => {
  expect(() => resolvePutOptions({ delayMs: '5' as Duration })).toThrow(
    `delayMs must be milliseconds from 0 up, or a duration such as '90s', '15m', '2h' or '7d'; got "5"`,
  )
  expect(() => resolvePutOptions({ timeoutMs: '6M' as Duration })).toThrow(
    /^timeoutMs must be a whole number from 1 to \d+, in milliseconds, or a duration such as .*; got "6M"$/,
  )
  expect(() => resolvePutOptions({ timeoutMs: '999d' })).toThrow(`timeoutMs must be from '1ms' to '24.8d'; got "999d"`)
  expect(() => resolvePutOptions({ delayMs: '99999999y' })).toThrow(
    `delayMs must be at most '285420.9y'; got "99999999y"`,
  )
  expect(() => resolveBugleOptions({ rescueAfterMs: '0.2s' }, {})).toThrow("rescueAfterMs must be from '300ms' to '1h'")
  expect(() => resolvePutOptions({ delayMs: -1 })).toThrow('delayMs must be milliseconds from 0 up; got -1')
})
