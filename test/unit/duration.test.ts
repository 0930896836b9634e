import { expect, test } from 'vitest'
import { type Duration, parseDuration } from '../../src/duration.js'
import { resolveBugleOptions, resolveConsumerOptions, resolveStopTimes } from '../../src/options.js'
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
]

test.each(durations)('%s is %d ms', (text, ms) => {
  expect(parseDuration(text)).toBe(ms)
})

test.each(['5', '6M', '5 minutes', '', ' 5m', '5m ', '-5m', '1e3s', '5S', 'm', '5m5s', '٥m', '0x5s', '1'.repeat(400)])(
  '%s is no duration',
  (text) => {
    expect(parseDuration(text)).toBeUndefined()
  },
)

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
  expect(() => resolvePutOptions({ delayMs: -1 })).toThrow('delayMs must be milliseconds from 0 up; got -1')
})
