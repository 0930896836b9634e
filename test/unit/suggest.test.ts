import { expect, test } from 'vitest'
import { resolveConsumerOptions } from '../../src/consume/options.js'
import { resolveBugleOptions } from '../../src/options.js'
import { resolvePutOptions } from '../../src/put/options.js'
import { exponential } from '../../src/retry.js'
import { suggestion } from '../../src/suggest.js'

const calls = {
  createBugle: (options: object) => resolveBugleOptions({ connectionString: 'postgres://localhost', ...options }, {}),
  consume: (options: object) => resolveConsumerOptions(options),
  put: (options: object) => resolvePutOptions(options),
  exponential: (options: object) => exponential(options),
}

/** Words of other libraries, and what each call says of them. */
const words: readonly (readonly [call: keyof typeof calls, word: string, meant: string])[] = [
  ['createBugle', 'max', 'poolSize'],
  ['createBugle', 'pollInterval', 'sweepMs'],
  ['createBugle', 'database', 'connectionString'],
  ['createBugle', 'password', 'connection'],
  ['createBugle', 'prefix', 'schema'],
  ['createBugle', 'noHandleSignals', 'handleSignals'],
  ['createBugle', 'heartbeatSeconds', 'rescueAfterMs'],
  ['consume', 'max', 'concurrency'],
  ['consume', 'teamSize', 'concurrency'],
  ['consume', 'localConcurrency', 'concurrency'],
  ['consume', 'retries', 'retryStrategy'],
  ['consume', 'backoff', 'retryStrategy'],
  ['consume', 'removeOnComplete', 'keep'],
  ['consume', 'timeout', 'timeoutMs'],
  ['consume', 'maxAttempts', 'retryStrategy'],
  ['put', 'attempts', 'maxAttempts'],
  ['put', 'retryLimit', 'maxAttempts'],
  ['put', 'delay', 'delayMs'],
  ['put', 'startAfter', 'delayMs'],
  ['put', 'singletonKey', 'key'],
  ['put', 'jobId', 'key'],
  ['put', 'expireInSeconds', 'timeoutMs'],
  ['put', 'trx', 'tx'],
  ['put', 'tags', 'flags'],
  ['exponential', 'delay', 'baseMs'],
  ['exponential', 'maxDelay', 'maxMs'],
]

test.each(words)('%s: %s is %s here', (call, word, meant) => {
  expect(() => calls[call]({ [word]: 1 })).toThrow(`there is no option "${word}"; did you mean ${meant}?`)
})

test("another call's options are named, by its words and by those of other libraries", () => {
  for (const [call, word, answer] of [
    ['createBugle', 'concurrency', 'it is an option of consume'],
    ['createBugle', 'teamSize', 'did you mean concurrency, an option of consume?'],
    ['createBugle', 'concurrent', 'did you mean concurrency, an option of consume?'],
    ['createBugle', 'attempts', 'did you mean retryStrategy, an option of consume?'],
    ['consume', 'pollInterval', 'did you mean sweepMs, an option of createBugle?'],
    ['consume', 'lockDuration', 'did you mean rescueAfterMs, an option of createBugle?'],
    ['consume', 'database', 'did you mean connectionString, an option of createBugle?'],
    ['put', 'backoff', 'did you mean retryStrategy, an option of consume?'],
    ['put', 'removeOnComplete', 'did you mean keep, an option of consume?'],
    ['put', 'concurrency', 'it is an option of consume'],
  ] as const) {
    expect(() => calls[call]({ [word]: 1 })).toThrow(`there is no option "${word}"; ${answer}`)
  }
  expect(() => resolveBugleOptions({ connection: { url: 'postgres://localhost' } as object }, {})).toThrow(
    'connection: there is no option "url"; did you mean connectionString, an option of createBugle?',
  )
})

test('a word that would mislead is answered with all that there are', () => {
  // A handler of pg-boss is given an array then.
  expect(() => calls.consume({ batchSize: 10 })).toThrow('there is no option "batchSize"; known are concurrency, ')
  expect(() => calls.put({ limit: 3 })).toThrow('there is no option "limit"; known are ')
})

test('a slip of case comes before a word of others, and that before the nearest name', () => {
  expect(suggestion('CONCURRENCY', ['poolSize', 'concurrency'])).toBe('concurrency')
  expect(suggestion('max', ['maxCrashes', 'poolSize'])).toBe('poolSize')
  expect(suggestion('concurency', ['concurrency', 'keep'])).toBe('concurrency')
  expect(suggestion('something', ['concurrency', 'keep'])).toBeUndefined()
})
