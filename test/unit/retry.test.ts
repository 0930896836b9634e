import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BugleError } from '../../src/errors.js'
import type { Job } from '../../src/job.js'
import {
  defaultRetryStrategy,
  exponential,
  exponentialDefaults,
  fixed,
  fixedDefaults,
  linear,
  linearDefaults,
  nextRun,
  type RetryDecision,
  type RetryStrategy,
  retryStrategyOption,
  type Verdict,
} from '../../src/retry.js'
import { parseRetryAfter } from '../../src/retry-after.js'

const hundredYearsMs = 3_155_760_000_000

const plainJob: Job = {
  id: '1',
  queue: 'emails',
  kind: null,
  payload: null,
  attempt: 1,
  maxAttempts: null,
  crashes: 0,
  priority: 0,
  key: null,
  flags: [],
  progress: null,
  createdAt: new Date(0),
  runAt: new Date(0),
}

function job(fields: Partial<Job> = {}): Job {
  return { ...plainJob, ...fields }
}

/** An error that asks for a delay. */
function asking(retryAfterMs: unknown): Error {
  return Object.assign(new Error('slow down'), { retryAfterMs })
}

/** The delays of a job that fails at every run, until there is no further run. */
async function delaysOf(
  strategy: RetryStrategy,
  { maxAttempts = null, error = new Error('no') }: { maxAttempts?: number | null; error?: Error } = {},
): Promise<number[]> {
  const delays: number[] = []
  for (let attempt = 1; attempt <= 100; attempt += 1) {
    const verdict = await nextRun(strategy, job({ attempt, maxAttempts }), error)
    if (verdict.is === 'broken') throw verdict.error
    if (verdict.is === 'exhausted') return delays
    delays.push(verdict.delayMs)
  }
  throw new Error('it runs for ever')
}

/** The strategy as option, asked about the first run. */
function first(value: unknown, error = new Error('no')): Promise<Verdict> {
  return nextRun(retryStrategyOption(value), job(), error)
}

function refused(act: () => unknown): string {
  try {
    act()
  } catch (error) {
    if (error instanceof BugleError && error.code === 'INVALID_OPTION') return error.message
    throw error
  }
  throw new Error('it was accepted')
}

const hostile: [string, () => unknown][] = [
  ['a getter that throws', () => Object.defineProperty({}, 'maxAttempts', { enumerable: true, get: fail })],
  ['a proxy that throws at every read', () => new Proxy({ maxAttempts: 2 }, { get: fail })],
  ['a proxy that throws at every question', () => new Proxy({}, allTraps)],
  ['a revoked proxy', revoked],
  ['a delay whose getter throws', () => ({ maxAttempts: 2, delaysMs: Object.defineProperty([1], '0', { get: fail }) })],
  ['delays in a revoked proxy', () => ({ maxAttempts: 2, delaysMs: revoked() })],
  ['delays without end', () => ({ maxAttempts: 2, delaysMs: new Proxy([], { get: () => Number.MAX_SAFE_INTEGER }) })],
  ['more delays than can be walked', () => ({ maxAttempts: 2, delaysMs: new Array(2 ** 32 - 1) })],
  ['delays of no countable number', () => ({ maxAttempts: 2, delaysMs: new Proxy([], { get: () => Number.NaN }) })],
]

function fail(): never {
  throw new Error('hands off')
}

const allTraps: ProxyHandler<object> = {
  get: fail,
  has: fail,
  ownKeys: fail,
  getPrototypeOf: fail,
  getOwnPropertyDescriptor: fail,
}

function revoked(): unknown {
  const { proxy, revoke } = Proxy.revocable([], {})
  revoke()
  return proxy
}

describe('{ maxAttempts, delaysMs }', () => {
  test.each<[retries: number, readonly number[] | undefined, number[]]>([
    [0, undefined, []],
    [0, [0], []],
    [0, [1000], []],
    [0, [1000, 2000], []],
    [1, undefined, [0]],
    [1, [0], [0]],
    [1, [1000], [1000]],
    [1, [1000, 2000], [1000]],
    [2, undefined, [0, 0]],
    [2, [0], [0, 0]],
    [2, [1000], [1000, 1000]],
    [2, [1000, 2000], [1000, 2000]],
    [5, undefined, [0, 0, 0, 0, 0]],
    [5, [0], [0, 0, 0, 0, 0]],
    [5, [1000], [1000, 1000, 1000, 1000, 1000]],
    [5, [1000, 2000], [1000, 2000, 2000, 2000, 2000]],
  ])('%j retries with delays %j wait %j', async (retries, delaysMs, waits) => {
    const maxAttempts = retries + 1
    expect(await delaysOf(() => ({ maxAttempts, delaysMs }))).toEqual(waits)
    expect(await delaysOf(async () => ({ maxAttempts, delaysMs }))).toEqual(waits)
    expect(await delaysOf(retryStrategyOption({ maxAttempts, delaysMs }))).toEqual(waits)
  })

  test('no delays are 0, and one number is every delay', async () => {
    expect(await delaysOf(() => ({ maxAttempts: 3, delaysMs: [] }))).toEqual([0, 0])
    expect(await delaysOf(() => ({ maxAttempts: 3, delaysMs: 7 }))).toEqual([7, 7])
  })

  test('retriesLeft is what may follow the next run', async () => {
    const left = []
    for (const attempt of [1, 2, 3]) {
      const verdict = await nextRun(() => ({ maxAttempts: 4 }), job({ attempt }), new Error('no'))
      left.push(verdict.is === 'retry' && verdict.retriesLeft)
    }
    expect(left).toEqual([2, 1, 0])
    expect(await nextRun(() => ({ maxAttempts: 4 }), job({ attempt: 4 }), new Error('no'))).toEqual({ is: 'exhausted' })
  })

  test('a fraction of a millisecond is rounded up', async () => {
    expect(await delaysOf(() => ({ maxAttempts: 3, delaysMs: [0.2, 99.01] }))).toEqual([1, 100])
  })
})

describe('{ delayMs }', () => {
  test('is one more run, without a limit of its own', async () => {
    expect(await nextRun(() => ({ delayMs: 5 }), job({ attempt: 1_000_000 }), new Error('no'))).toEqual({
      is: 'retry',
      delayMs: 5,
      retriesLeft: Number.POSITIVE_INFINITY,
    })
  })

  test('is bounded by the maxAttempts of the job', async () => {
    expect(await delaysOf(() => ({ delayMs: 5 }), { maxAttempts: 3 })).toEqual([5, 5])
  })

  test('wins over the delay of the error, which the function has seen', async () => {
    expect(await delaysOf(() => ({ delayMs: 5 }), { maxAttempts: 2, error: asking(900) })).toEqual([5])
  })
})

describe("a job's maxAttempts", () => {
  test.each<[string, RetryStrategy]>([
    ['a decision', () => ({ maxAttempts: 3, delaysMs: [10] })],
    ['a built-in strategy', fixed({ delayMs: 10, maxAttempts: 3 })],
  ])('overrides the limit of %s, up and down', async (_, strategy) => {
    expect(await delaysOf(strategy)).toEqual([10, 10])
    expect(await delaysOf(strategy, { maxAttempts: 1 })).toEqual([])
    expect(await delaysOf(strategy, { maxAttempts: 2 })).toEqual([10])
    expect(await delaysOf(strategy, { maxAttempts: 6 })).toEqual([10, 10, 10, 10, 10])
  })

  test('does not bring back what the strategy gave up', async () => {
    expect(await delaysOf(() => false, { maxAttempts: 6 })).toEqual([])
    expect(await delaysOf(fixed({ unless: [TypeError] }), { maxAttempts: 6, error: new TypeError('no') })).toEqual([])
  })

  test('counts in retriesLeft', async () => {
    expect(await nextRun(() => ({ maxAttempts: 2 }), job({ attempt: 2, maxAttempts: 9 }), new Error('no'))).toEqual({
      is: 'retry',
      delayMs: 0,
      retriesLeft: 6,
    })
  })

  test('ends also a job that has run more often already', async () => {
    const verdict = await nextRun(() => ({ delayMs: 1 }), job({ attempt: 5, maxAttempts: 2 }), new Error('no'))
    expect(verdict).toEqual({ is: 'exhausted' })
  })
})

describe('retryAfterMs of an error', () => {
  test('wins over delaysMs and over the built-in delays, without jitter and rounded up', async () => {
    for (const strategy of [
      retryStrategyOption({ maxAttempts: 3, delaysMs: [1000] }),
      fixed({ maxAttempts: 3 }),
      linear({ maxAttempts: 3 }),
      exponential({ maxAttempts: 3 }),
    ]) {
      expect(await delaysOf(strategy, { error: asking(899.5) })).toEqual([900, 900])
      expect(await delaysOf(strategy, { error: asking(0) })).toEqual([0, 0])
    }
  })

  test('may be a getter or inherited', async () => {
    class Busy extends Error {
      get retryAfterMs(): number {
        return 70
      }
    }
    expect(await delaysOf(fixed({ maxAttempts: 2 }), { error: new Busy() })).toEqual([70])
  })

  test('grants no further run', async () => {
    expect(await delaysOf(() => ({ maxAttempts: 1 }), { error: asking(5) })).toEqual([])
    expect(await delaysOf(() => false, { error: asking(5) })).toEqual([])
    expect(await delaysOf(fixed(), { maxAttempts: 1, error: asking(5) })).toEqual([])
  })

  test.each([-1, Number.NaN, Number.POSITIVE_INFINITY, hundredYearsMs + 1, '900', null, undefined, {}])(
    '%j is not heeded',
    async (value) => {
      expect(await delaysOf(fixed({ maxAttempts: 2 }), { error: asking(value) })).toEqual([1000])
    },
  )

  test.each<[string, () => unknown]>([
    ['whose getter throws', () => Object.defineProperty(new Error('x'), 'retryAfterMs', { get: fail })],
    ['that is a proxy', () => new Proxy(new Error('x'), allTraps)],
    ['that is no object', () => 'boom'],
  ])('an error %s has none', async (_, error) => {
    expect(await delaysOf(fixed({ maxAttempts: 2 }), { error: error() as Error })).toEqual([1000])
  })
})

describe('the delay that the handler asked for', () => {
  test.each<RetryDecision>([{ maxAttempts: 2, delaysMs: 10 }, { delayMs: 10 }])('wins over %j', async (decision) => {
    const verdict = await nextRun(() => decision, job(), asking(900), { delayMs: 33.3 })
    expect(verdict).toMatchObject({ is: 'retry', delayMs: 34 })
  })

  test('0 is a delay, undefined is none', async () => {
    expect(await nextRun(fixed(), job(), new Error('no'), { delayMs: 0 })).toMatchObject({ delayMs: 0 })
    expect(await nextRun(fixed(), job(), new Error('no'), { delayMs: undefined })).toMatchObject({ delayMs: 1000 })
  })

  test('grants no further run', async () => {
    const given = { delayMs: 1 }
    expect(await nextRun(() => false, job(), new Error('no'), given)).toEqual({ is: 'exhausted' })
    expect(await nextRun(fixed(), job({ attempt: 5 }), new Error('no'), given)).toEqual({ is: 'exhausted' })
    const own = job({ attempt: 2, maxAttempts: 2 })
    expect(await nextRun(() => ({ delayMs: 1 }), own, new Error('no'), given)).toEqual({ is: 'exhausted' })
  })

  test('is checked as well', async () => {
    const verdict = await nextRun(fixed(), job(), new Error('no'), { delayMs: -1 })
    expect(verdict).toMatchObject({
      is: 'broken',
      error: { message: "the outcome's delayMs must be milliseconds from 0 up; got -1" },
    })
  })
})

describe('a strategy that fails', () => {
  test('is told with what it threw as cause', async () => {
    const thrown = new TypeError('boom')
    for (const strategy of [() => Promise.reject(thrown), () => throwing(thrown)]) {
      const verdict = await nextRun(strategy, job(), new Error('no'))
      expect(verdict).toEqual({ is: 'broken', error: expect.any(Error) })
      expect(verdict).toMatchObject({ error: { message: 'retryStrategy() threw TypeError: boom', cause: thrown } })
    }
  })

  test.each<[string, () => unknown]>([
    ['"boom"', () => 'boom'],
    ['undefined', () => undefined],
    ['[object Object]', () => ({})],
    ['a object that cannot be shown', revoked],
  ])('with %s is told too', async (shown, thrown) => {
    const verdict = await nextRun(() => throwing(thrown()), job(), new Error('no'))
    expect(verdict).toMatchObject({ is: 'broken', error: { message: `retryStrategy() threw ${shown}` } })
  })

  test('is one that is no function', async () => {
    expect(await nextRun(5 as unknown as RetryStrategy, job(), new Error('no'))).toMatchObject({ is: 'broken' })
  })

  test('breaks the verdict also where the handler asked for a delay', async () => {
    expect(await nextRun(fail, job(), new Error('no'), { delayMs: 1 })).toMatchObject({ is: 'broken' })
  })

  function throwing(thrown: unknown): never {
    throw thrown
  }
})

describe('an answer that is no decision', () => {
  const form = 'must be false, { maxAttempts, delaysMs } or { delayMs }'
  test.each<[unknown, string]>([
    [undefined, `retryStrategy() ${form}; got undefined`],
    [null, `retryStrategy() ${form}; got null`],
    [true, `retryStrategy() ${form}; got true`],
    [5, `retryStrategy() ${form}; got 5`],
    ['never', `retryStrategy() ${form}; got "never"`],
    [[1000], `retryStrategy() ${form}; got array`],
    [new Date(0), `retryStrategy() ${form}; got object`],
    [{}, 'retryStrategy().maxAttempts must be a whole number from 1 up; got undefined'],
    [{ maxAttempts: -1 }, 'retryStrategy().maxAttempts must be a whole number from 1 up; got -1'],
    [{ maxAttempts: 1.5 }, 'retryStrategy().maxAttempts must be a whole number from 1 up; got 1.5'],
    [{ maxAttempts: Number.NaN }, 'retryStrategy().maxAttempts must be a whole number from 1 up; got NaN'],
    [{ maxAttempts: '3' }, 'retryStrategy().maxAttempts must be a whole number from 1 up; got "3"'],
    [{ delaysMs: [1] }, 'retryStrategy().maxAttempts must be a whole number from 1 up; got undefined'],
    [{ maxAttempts: 2, delaysMs: null }, 'retryStrategy().delaysMs must be milliseconds from 0 up; got null'],
    [{ maxAttempts: 2, delaysMs: -5 }, 'retryStrategy().delaysMs must be milliseconds from 0 up; got -5'],
    [
      { maxAttempts: 2, delaysMs: [1, Number.NaN] },
      'retryStrategy().delaysMs[1] must be milliseconds from 0 up; got NaN',
    ],
    [
      { maxAttempts: 2, delaysMs: Array(2) },
      'retryStrategy().delaysMs[0] must be milliseconds from 0 up; got undefined',
    ],
    [
      { maxAttempts: 2, delaysMs: Array(1001).fill(1) },
      'retryStrategy().delaysMs.length must be a whole number from 0 to 1000; got 1001',
    ],
    [{ delayMs: -1 }, 'retryStrategy().delayMs must be milliseconds from 0 up; got -1'],
    [{ delayMs: Number.POSITIVE_INFINITY }, 'retryStrategy().delayMs must be milliseconds from 0 up; got Infinity'],
    [{ delayMs: hundredYearsMs + 1 }, 'retryStrategy().delayMs must be at most a hundred years; got 3155760000001'],
    [{ delay: 5 }, 'retryStrategy(): there is no option "delay"; did you mean delayMs?'],
    [{ delayMS: 5 }, 'retryStrategy(): there is no option "delayMS"; did you mean delayMs?'],
    [{ maxAttempts: 3, delayMs: 5 }, `retryStrategy() ${form}; got delayMs beside others`],
  ])('%j is told by rule and value', async (answer, message) => {
    const verdict = await nextRun(() => answer as RetryDecision, job(), new Error('no'))
    expect(verdict).toEqual({ is: 'broken', error: expect.any(BugleError) })
    expect(verdict).toMatchObject({ error: { code: 'INVALID_OPTION', message } })
  })

  test.each(hostile)('%s is told, never thrown', async (_, make) => {
    const verdict = await nextRun(() => Object.freeze([make()]) as unknown as RetryDecision, job(), new Error('no'))
    expect(verdict).toMatchObject({ is: 'broken', error: { code: 'INVALID_OPTION' } })
    // Returned as it is, one that throws at `then` already fails the strategy's own promise.
    expect(await nextRun(() => make() as RetryDecision, job(), new Error('no'))).toMatchObject({ is: 'broken' })
  })

  test('100 years are a delay, and a plain object of another realm is a decision', async () => {
    expect(await first(() => ({ delayMs: hundredYearsMs }))).toMatchObject({ delayMs: hundredYearsMs })
    expect(await first(() => runInNewContext('({ maxAttempts: 2, delaysMs: [5] })'))).toMatchObject({ delayMs: 5 })
  })
})

describe('retryStrategyOption', () => {
  test('takes a function as it is', () => {
    const strategy: RetryStrategy = () => false
    expect(retryStrategyOption(strategy)).toBe(strategy)
    expect(retryStrategyOption(defaultRetryStrategy)).toBe(defaultRetryStrategy)
  })

  test('false is no retry', async () => {
    expect(await first(false)).toEqual({ is: 'exhausted' })
  })

  test('keeps a copy of a constant', async () => {
    const decision = { maxAttempts: 2, delaysMs: [10] }
    const strategy = retryStrategyOption(decision)
    decision.maxAttempts = 9
    decision.delaysMs[0] = -1
    expect(await delaysOf(strategy)).toEqual([10])
  })

  test.each<[unknown, string]>([
    [undefined, 'retryStrategy must be a function, false or { maxAttempts, delaysMs }; got undefined'],
    [true, 'retryStrategy must be a function, false or { maxAttempts, delaysMs }; got true'],
    [3, 'retryStrategy must be a function, false or { maxAttempts, delaysMs }; got 3'],
    [[1000], 'retryStrategy must be a function, false or { maxAttempts, delaysMs }; got array'],
    [{}, 'retryStrategy.maxAttempts must be a whole number from 1 up; got undefined'],
    [{ maxAttempts: -1 }, 'retryStrategy.maxAttempts must be a whole number from 1 up; got -1'],
    [{ maxAttempts: 2, delaysMs: [0, -2] }, 'retryStrategy.delaysMs[1] must be milliseconds from 0 up; got -2'],
    [{ maxAttemts: 1 }, 'retryStrategy: there is no option "maxAttemts"; did you mean maxAttempts?'],
    [
      { retries: 5 },
      'retryStrategy: there is no option "retries"; give maxAttempts: 6, which counts the first run too',
    ],
    [
      { retries: 'many' },
      'retryStrategy: there is no option "retries"; give maxAttempts, which counts the first run too',
    ],
    // It would be a retry for ever.
    [{ delayMs: 5 }, 'retryStrategy: there is no option "delayMs"; did you mean delaysMs?'],
    [exponential, 'retryStrategy must be what exponential() returns; got exponential'],
  ])('%j is refused at once', (value, message) => {
    expect(refused(() => retryStrategyOption(value))).toBe(message)
  })

  test.each(hostile)('%s is refused at once', (_, make) => {
    expect(refused(() => retryStrategyOption(make()))).toMatch(/^retryStrategy/)
  })
})

describe('the built-in strategies', () => {
  const atMost = () => 0 // no jitter is taken off
  const atLeast = () => 1

  test('have the defaults that are exported', async () => {
    expect(fixedDefaults).toEqual({ delayMs: 1000, maxAttempts: 5 })
    expect(linearDefaults).toEqual({ baseMs: 1000, maxMs: 3_600_000, jitter: 0.2, maxAttempts: 5 })
    expect(exponentialDefaults).toEqual({ ...linearDefaults, factor: 2 })
    expect(await delaysOf(fixed())).toEqual([1000, 1000, 1000, 1000])
    expect(await delaysOf(linear({}, atMost))).toEqual([1000, 2000, 3000, 4000])
    expect(await delaysOf(exponential({}, atMost))).toEqual([1000, 2000, 4000, 8000])
    expect(await delaysOf(exponential({ baseMs: undefined } as object, atMost))).toEqual([1000, 2000, 4000, 8000])
    expect(await delaysOf(defaultRetryStrategy)).toHaveLength(4)
  })

  test('take their options', async () => {
    expect(await delaysOf(fixed({ delayMs: 0.5, maxAttempts: 2 }))).toEqual([1])
    expect(await delaysOf(linear({ baseMs: 10, maxMs: 25, maxAttempts: 4 }, atMost))).toEqual([10, 20, 25])
    const strategy = exponential({ baseMs: 10, factor: 3, maxMs: 250, maxAttempts: 6 }, atMost)
    expect(await delaysOf(strategy)).toEqual([10, 30, 90, 250, 250])
    expect(await delaysOf(fixed({ maxAttempts: 1 }))).toEqual([])
  })

  test.each<[number | boolean | undefined, number]>([
    [undefined, 0.8],
    [true, 0.8],
    [0.2, 0.8],
    [1, 0],
    [0.5, 0.5],
    [0, 1],
    [false, 1],
  ])('jitter %j leaves at least %j of the delay', async (jitter, share) => {
    const options = { ...(jitter !== undefined && { jitter }), maxAttempts: 3 }
    expect(await delaysOf(exponential(options, atLeast))).toEqual([1000 * share, 2000 * share])
    expect(await delaysOf(linear(options, atLeast))).toEqual([1000 * share, 2000 * share])
    expect(await delaysOf(exponential(options, atMost))).toEqual([1000, 2000])
  })

  test('an overflow ends at maxMs', async () => {
    for (const options of [{}, { factor: Number.MAX_VALUE }, { baseMs: 1, factor: 1e300 }]) {
      const strategy = exponential({ ...options, jitter: false })
      for (const attempt of [2_000, 2 ** 31, Number.MAX_SAFE_INTEGER]) {
        const verdict = await nextRun(strategy, job({ attempt, maxAttempts: Number.MAX_VALUE }), new Error('no'))
        expect(verdict).toMatchObject({ delayMs: 3_600_000 })
      }
    }
    expect(await delaysOf(exponential({ baseMs: 0, factor: Number.MAX_VALUE, maxAttempts: 4 }))).toEqual([0, 0, 0])
    const verdict = await nextRun(linear({ jitter: 0 }), job({ attempt: 2 ** 31, maxAttempts: 2 ** 32 }), new Error())
    expect(verdict).toMatchObject({ delayMs: 3_600_000 })
  })

  test('can be called by a strategy of the user', async () => {
    const usual = exponential({ maxAttempts: 3 }, atMost)
    const strategy: RetryStrategy = (job, error) => (error.message === 'gone' ? false : usual(job, error))
    expect(await delaysOf(strategy)).toEqual([1000, 2000])
    expect(await delaysOf(strategy, { error: new Error('gone') })).toEqual([])
  })

  describe.each<[string, (options: object) => RetryStrategy]>([
    ['fixed', fixed],
    ['linear', linear],
    ['exponential', exponential],
  ])('%s', (name, make) => {
    test('does not retry what is in unless: instances and those of subclasses, but not a cause', async () => {
      class Refused extends Error {}
      class RefusedForGood extends Refused {}
      const unless: unknown[] = [RangeError, Refused]
      const strategy = make({ unless })
      unless.length = 0
      expect(await delaysOf(strategy, { error: new Refused() })).toEqual([])
      expect(await delaysOf(strategy, { error: new RefusedForGood() })).toEqual([])
      expect(await delaysOf(strategy, { error: new RangeError() })).toEqual([])
      expect(await delaysOf(strategy, { error: new Error('x', { cause: new Refused() }) })).toHaveLength(4)
    })

    test.each<[object, RegExp]>([
      [{ unless: TypeError }, /^unless must be an array of error classes; got function$/],
      [{ unless: null }, /^unless must be an array of error classes; got null$/],
      [{ unless: [TypeError, 'TypeError'] }, /^unless\[1] must be an error class; got "TypeError"$/],
      [{ unless: [() => true] }, /^unless\[0] must be an error class; got a function$/],
      [{ unless: [new TypeError('x')] }, /^unless\[0] must be an error class; got TypeError: x$/],
      [{ unless: Array(1) }, /^unless\[0] must be an error class; got undefined$/],
      [{ unless: [undefined] }, /^unless\[0] must be an error class; got undefined$/],
      [{ maxAttempts: 0 }, /^maxAttempts must be a whole number from 1 up; got 0$/],
      [{ maxAttempts: null }, /^maxAttempts must be a whole number from 1 up; got null$/],
      [{ maxAttempts: 1.5 }, /^maxAttempts must be a whole number from 1 up; got 1.5$/],
      [{ attempts: 5 }, /options: there is no option "attempts"; /],
      [null as unknown as object, /options must be an object of options; got null$/],
    ])('refuses %j at once', (options, message) => {
      const told = refused(() => make(options))
      expect(told).toMatch(message)
      if (told.includes('options')) expect(told).toMatch(new RegExp(`^${name} `))
    })
  })

  test.each<[(options: object) => RetryStrategy, object, string]>([
    [fixed, { delayMs: -1 }, 'delayMs must be milliseconds from 0 up; got -1'],
    [fixed, { delayMs: null }, 'delayMs must be milliseconds from 0 up; got null'],
    [fixed, { delayMs: hundredYearsMs + 1 }, 'delayMs must be at most a hundred years; got 3155760000001'],
    [fixed, { baseMs: 1 }, 'fixed options: there is no option "baseMs"; known are delayMs, maxAttempts, unless'],
    [
      linear,
      { baseMs: '1' },
      `baseMs must be milliseconds from 0 up, or a duration such as '90s', '15m', '2h' or '7d'; got "1"`,
    ],
    [linear, { maxMs: Number.POSITIVE_INFINITY }, 'maxMs must be milliseconds from 0 up; got Infinity'],
    [linear, { jitter: 1.1 }, 'jitter must be a number from 0 to 1; got 1.1'],
    [linear, { jitter: Number.NaN }, 'jitter must be a number from 0 to 1; got NaN'],
    [linear, { baseMs: 7_200_000 }, 'baseMs must be at most maxMs, 3600000; got 7200000'],
    [exponential, { factor: 0.5 }, 'factor must be a number from 1 up; got 0.5'],
    [exponential, { factor: Number.POSITIVE_INFINITY }, 'factor must be a number from 1 up; got Infinity'],
    [exponential, { jitter: 'full' }, 'jitter must be a number from 0 to 1; got "full"'],
    [exponential, { maxMS: 5 }, 'exponential options: there is no option "maxMS"; did you mean maxMs?'],
  ])('%o refuses %j', (make, options, message) => {
    expect(refused(() => make(options))).toBe(message)
  })
})

describe('parseRetryAfter', () => {
  const now = Date.UTC(2024, 1, 28, 23, 59, 0)

  test.each<[string, number]>([
    ['0', 0],
    ['120', 120_000],
    [' 7 ', 7_000],
    ['1.5', 1_500],
    ['0.0001', 1],
    ['Thu, 29 Feb 2024 00:00:30 GMT', 90_000],
    ['Thursday, 29-Feb-24 00:00:30 GMT', 90_000],
    ['Thu Feb 29 00:00:30 2024', 90_000],
    ['Fri Mar  1 00:00:00 2024', 86_460_000],
    ['Wed, 28 Feb 2024 23:59:00 GMT', 0],
    ['Wed, 28 Feb 2024 23:58:59 GMT', 0],
    ['Sun, 06 Nov 1994 08:49:37 GMT', 0],
    ['Sunday, 06-Nov-94 08:49:37 GMT', 0],
    // Two digits: at most 50 years ahead.
    ['Friday, 01-Jan-74 00:00:00 GMT', Date.UTC(2074, 0, 1) - now],
    ['Tuesday, 01-Jan-75 00:00:00 GMT', 0],
  ])('%j is %j ms', (header, delayMs) => {
    expect(parseRetryAfter(header, now)).toBe(delayMs)
  })

  test.each([
    null,
    undefined,
    '',
    ' ',
    'soon',
    '-1',
    '+1',
    '1e3',
    '0x10',
    '1,5',
    'Infinity',
    'NaN',
    '9'.repeat(400),
    '99999999999',
    '2024-02-29T00:00:30Z',
    'Thu, 30 Feb 2024 00:00:30 GMT',
    'Thu, 29 Foo 2024 00:00:30 GMT',
    'Thu, 29 Feb 2024 25:00:30 GMT',
    'Thu, 29 Feb 2024 00:00:30',
    'Fri, 31 Dec 9999 23:59:59 GMT',
    ['120'] as unknown as string,
    120 as unknown as string,
  ])('%j is nothing', (header) => {
    expect(parseRetryAfter(header, now)).toBeUndefined()
  })

  test('counts from the present', () => {
    const inAnHour = new Date(Date.now() + 3_600_000).toUTCString()
    expect(parseRetryAfter(inAnHour)).toBeGreaterThan(3_500_000)
    expect(parseRetryAfter(inAnHour)).toBeLessThanOrEqual(3_600_000)
  })

  test('is a delay or nothing, whatever the header', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.float().map(String), fc.date().map(String)), fc.integer(), (header, now) => {
        const delayMs = parseRetryAfter(header, now)
        if (delayMs !== undefined) expect(Number.isSafeInteger(delayMs) && delayMs >= 0).toBe(true)
      }),
    )
  })
})

describe('whatever a strategy answers and an error holds', () => {
  const delays = fc.oneof(fc.double({ noNaN: true, min: 0, max: 1e6 }), fc.double(), fc.nat())
  // As functions: fast-check itself looks at values, and so would fall over the hostile ones.
  const answers: fc.Arbitrary<() => unknown> = fc.oneof(
    fc.constant(() => false),
    fc
      .record(
        { maxAttempts: fc.nat(9), delaysMs: fc.oneof(delays, fc.array(delays)) },
        { requiredKeys: ['maxAttempts'] },
      )
      .map((decision) => () => decision),
    fc.record({ delayMs: delays }).map((decision) => () => decision),
    fc.anything({ withBigInt: true, withNullPrototype: true, withSparseArray: true }).map((value) => () => value),
    fc.constantFrom(...hostile.map(([, make]) => make)),
  )
  const strategies: fc.Arbitrary<RetryStrategy> = fc.oneof(
    answers.map((answer) => () => answer() as RetryDecision),
    answers.map((answer) => async () => answer() as RetryDecision),
    answers.map((answer) => () => {
      throw answer()
    }),
    answers.map((answer) => () => Promise.reject(answer())),
    fc.nat(8).map((n) => exponential({ maxAttempts: n + 1, maxMs: 10_000 })),
  )
  const errors = fc.oneof(fc.anything(), delays).map(asking)
  const given = fc.record({ delayMs: delays }, { requiredKeys: [] })

  test('nextRun never rejects, and a delay is whole milliseconds from 0 up', async () => {
    await fc.assert(
      fc.asyncProperty(strategies, fc.integer({ min: 1 }), errors, given, async (strategy, attempt, error, given) => {
        const verdict = await nextRun(strategy, job({ attempt }), error, given)
        if (verdict.is === 'broken') expect(verdict.error.message).toMatch(/^(retryStrategy|the outcome's delayMs)/)
        if (verdict.is !== 'retry') return
        expect(Number.isSafeInteger(verdict.delayMs) && verdict.delayMs >= 0).toBe(true)
        expect(verdict.retriesLeft).toBeGreaterThanOrEqual(0)
      }),
      { numRuns: 1_000 },
    )
  })

  test('nextRun never grants more runs than the maxAttempts of the job', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(strategies, { minLength: 1, maxLength: 4 }),
        fc.integer({ min: 1, max: 10 }),
        errors,
        async (strategies, maxAttempts, error) => {
          let attempt = 1
          for (; attempt <= 20; attempt += 1) {
            const strategy = strategies[attempt % strategies.length] ?? fixed()
            const verdict = await nextRun(strategy, job({ attempt, maxAttempts }), error)
            if (verdict.is !== 'retry') break
            expect(verdict.retriesLeft).toBe(maxAttempts - attempt - 1)
          }
          expect(attempt).toBeLessThanOrEqual(maxAttempts)
        },
      ),
      { numRuns: 500 },
    )
  })
})
