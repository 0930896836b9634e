import { expect, test } from 'vitest'
import { resolveBugleOptions, resolveConsumerOptions } from '../../src/options.js'
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
  ['consume', 'batchSize', 'prefetch'],
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

test('a slip of case comes before a word of others, and that before the nearest name', () => {
  expect(suggestion('CONCURRENCY', ['poolSize', 'concurrency'])).toBe('concurrency')
  expect(suggestion('max', ['maxCrashes', 'poolSize'])).toBe('poolSize')
  expect(suggestion('concurency', ['concurrency', 'keep'])).toBe('concurrency')
  expect(suggestion('something', ['concurrency', 'keep'])).toBeUndefined()
})
