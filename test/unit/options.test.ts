import { createServer } from 'node:net'
import { expect, test } from 'vitest'
import { consumerDefaults, resolveConsumerOptions, resolveDrainOptions } from '../../src/consume/options.js'
import {
  type BugleOptions,
  type ConsumeOptions,
  createBugle,
  type DrainOptions,
  defineQueues,
  type PutOptions,
} from '../../src/index.js'
import { bugleDefaults, resolveBugleOptions, resolveStopTimes } from '../../src/options.js'
import { putDefaults, resolvePutOptions } from '../../src/put/options.js'
import { defaultRetryStrategy } from '../../src/retry.js'
import { refusal } from '../support/refusal.js'

const connectionString = 'postgres://user:secret@localhost:1/db'

test('createBugle does no I/O', async () => {
  const server = createServer(() => expect.unreachable('it connected')).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const before = process.getActiveResourcesInfo().sort()
  const bugle = createBugle({ connection: { host: '127.0.0.1', port, user: 'u' } })
  expect(process.getActiveResourcesInfo().sort()).toEqual(before)
  // Whatever it might have begun would need a turn of the event loop.
  await new Promise(setImmediate)
  expect(process.getActiveResourcesInfo().sort()).toEqual(before)
  await bugle.close()
  await new Promise((resolve) => server.close(resolve))
})

test('createBugle refuses at once, not later', async () => {
  expect(() => createBugle({ connectionString, poolSize: 0 })).toThrowError(
    expect.objectContaining({ code: 'INVALID_OPTION', message: expect.stringContaining('poolSize') }),
  )
  expect(() => createBugle({ connectionString, poolsize: 1 } as BugleOptions)).toThrowError(/did you mean poolSize\?/)
  expect(() => createBugle({ connectionString: 'nonsense' })).toThrowError(/connectionString/)
})

test('each instance is a worker of its own, by a number of 63 bits', () => {
  const ids = Array.from({ length: 100 }, () => createBugle({ connectionString }).workerId)
  expect(new Set(ids).size).toBe(100)
  for (const id of ids) {
    expect(id).toMatch(/^\d+$/)
    expect(BigInt(id)).toBeLessThan(2n ** 63n)
  }
})

test('an instance that was never used closes at once', async () => {
  const bugle = createBugle({ connectionString })
  void bugle.close()
  await bugle.close()
  expect(await refusal(() => bugle.put('emails', 1))).toMatchObject({ code: 'CLOSED' })
})

test('resolved options are complete and frozen, and the caller’s object stays as it was', () => {
  const connection = Object.freeze({ host: 'db', password: 'secret' })
  const options: BugleOptions = Object.freeze({
    connection,
    sweepMs: 1.5,
    poolSize: undefined,
  }) as unknown as BugleOptions
  const before = structuredClone(options)
  const resolved = resolveBugleOptions(options, {})
  expect(options).toEqual(before)
  expect(Object.isFrozen(resolved)).toBe(true)
  expect(Object.isFrozen(resolved.connection)).toBe(true)
  // A fraction of a millisecond is rounded up; undefined is as good as left out.
  expect(resolved).toMatchObject({ sweepMs: 2, poolSize: bugleDefaults.poolSize })
  const { context, ...others } = resolved
  expect(Object.values(others)).not.toContain(undefined)
  expect(context).toBeUndefined()

  const consume: ConsumeOptions = Object.freeze({ concurrency: 3 })
  const resolvedConsume = resolveConsumerOptions(consume)
  expect(resolvedConsume).toMatchObject({ ...consumerDefaults, concurrency: 3 })
  expect(Object.isFrozen(resolvedConsume)).toBe(true)
})

test('a change of the caller’s object after createBugle changes nothing', () => {
  const options = { connectionString, schema: 'mine' }
  const resolved = resolveBugleOptions(options, {})
  options.schema = 'other'
  expect(resolved.schema).toBe('mine')
})

test('the defaults are those that are documented', () => {
  expect(bugleDefaults).toEqual({
    schema: 'bugle',
    name: 'bugle',
    poolSize: 10,
    prepare: true,
    listen: true,
    sweepMs: 30_000,
    rescueAfterMs: 5_000,
    hungAfterMs: 300_000,
    maxCrashes: 3,
    durableClaims: false,
    express: true,
    graceMs: 15_000,
    abortMs: 5_000,
    handleSignals: false,
    maxPayloadBytes: 1_048_576,
    keep: { failedForMs: 2_592_000_000, archivedForMs: null },
    middleware: [],
  })
  expect(consumerDefaults).toEqual({
    concurrency: 10,
    prefetch: 'earned',
    outcome: 'implicit',
    unknownKinds: 'leave',
    withoutFlags: [],
    keep: 'failed',
    middleware: [],
  })
  expect(putDefaults).toEqual({ priority: 0, keyMode: 'keep', flags: [] })
  expect(resolveBugleOptions({ connectionString }, {})).toMatchObject(bugleDefaults)
  expect(resolveConsumerOptions()).toEqual({
    ...consumerDefaults,
    retryStrategy: defaultRetryStrategy,
    onFailed: undefined,
    timeoutMs: null,
    durableClaims: false,
    express: true,
    graceMs: 15_000,
    abortMs: 5_000,
    context: undefined,
    signal: undefined,
  })
  expect(resolveConsumerOptions({})).toEqual(resolveConsumerOptions())
  expect(resolvePutOptions(undefined)).toEqual({
    ...putDefaults,
    kind: null,
    runAt: null,
    delayMs: null,
    key: null,
    keyWhile: 'waiting',
    keyForMs: null,
    maxAttempts: null,
    timeoutMs: null,
    tx: undefined,
  })
  expect(resolvePutOptions({})).toEqual(resolvePutOptions(undefined))
})

/** Complete: the compiler misses a name that is not here. */
type NoneOf<Options> = { readonly [Name in keyof Required<Options>]: undefined }

test('an option that is undefined is as good as left out, but for tx', () => {
  const ofBugle: NoneOf<BugleOptions> & { readonly queues: undefined } = {
    connectionString: undefined,
    connection: undefined,
    listenConnectionString: undefined,
    schema: undefined,
    name: undefined,
    poolSize: undefined,
    prepare: undefined,
    listen: undefined,
    sweepMs: undefined,
    rescueAfterMs: undefined,
    hungAfterMs: undefined,
    maxCrashes: undefined,
    durableClaims: undefined,
    express: undefined,
    graceMs: undefined,
    abortMs: undefined,
    handleSignals: undefined,
    maxPayloadBytes: undefined,
    keep: undefined,
    queues: undefined,
    schemas: undefined,
    codec: undefined,
    middleware: undefined,
    context: undefined,
    logger: undefined,
  }
  expect(resolveBugleOptions(ofBugle, {})).toStrictEqual(resolveBugleOptions({}, {}))
  const ofDrain: NoneOf<DrainOptions> = {
    concurrency: undefined,
    prefetch: undefined,
    outcome: undefined,
    retryStrategy: undefined,
    onFailed: undefined,
    unknownKinds: undefined,
    withoutFlags: undefined,
    keep: undefined,
    middleware: undefined,
    timeoutMs: undefined,
    durableClaims: undefined,
    express: undefined,
    graceMs: undefined,
    abortMs: undefined,
    context: undefined,
    signal: undefined,
    until: undefined,
  }
  const instance = { ...bugleDefaults, context: 'instance' }
  expect(resolveDrainOptions(ofDrain, instance)).toStrictEqual(resolveDrainOptions({}, instance))
  const ofPut: NoneOf<Omit<PutOptions, 'tx'>> = {
    priority: undefined,
    kind: undefined,
    runAt: undefined,
    delayMs: undefined,
    key: undefined,
    unique: undefined,
    keyMode: undefined,
    flags: undefined,
    maxAttempts: undefined,
    timeoutMs: undefined,
  }
  expect(resolvePutOptions(ofPut)).toStrictEqual(resolvePutOptions({}))
  const unset = { while: undefined, forMs: undefined }
  expect(resolvePutOptions({ unique: { key: 'k', ...unset } })).toStrictEqual(resolvePutOptions({ key: 'k' }))
  expect(() => resolvePutOptions({ tx: undefined } as never)).toThrow(/tx is undefined/)
  const times = { graceMs: 1, abortMs: 2 }
  expect(resolveStopTimes({ graceMs: undefined, abortMs: undefined }, times)).toEqual(times)
})

test('queues are what defineQueues returns, and nothing else', async () => {
  expect(() => resolveBugleOptions({ connectionString, queues: defineQueues<{ emails: 1 }>() }, {})).not.toThrow()
  const refused = await refusal(() => resolveBugleOptions({ connectionString, queues: { emails: 1 } } as never, {}))
  expect(refused).toMatchObject({ code: 'INVALID_OPTION', message: expect.stringMatching(/^queues must be what /) })
})

test('the bounds of options are included', () => {
  const longest = { sweepMs: 2_147_483_647, poolSize: 1_000, maxPayloadBytes: 268_435_455, name: 'n'.repeat(50) }
  expect(resolveBugleOptions({ connectionString, ...longest }, {})).toMatchObject(longest)
  expect(resolveBugleOptions({ connectionString, sweepMs: 0, poolSize: 1 }, {})).toMatchObject({ sweepMs: 0 })
  expect(resolveConsumerOptions({ concurrency: 1 }).concurrency).toBe(1)
  expect(resolveConsumerOptions({ concurrency: 1_000 }).concurrency).toBe(1_000)
  expect(resolvePutOptions({ priority: -32_768 }).priority).toBe(-32_768)
  expect(resolvePutOptions({ priority: 32_767 }).priority).toBe(32_767)
  // Characters are code points.
  expect(resolvePutOptions({ key: '🐘'.repeat(255), kind: '🐘'.repeat(128) })).toMatchObject({ key: '🐘'.repeat(255) })
  const century = 100 * 365.25 * 86_400_000
  expect(resolvePutOptions({ delayMs: century }).delayMs).toBe(century)
  expect(resolvePutOptions({ runAt: new Date(-1) }).runAt).toBe(0)
  expect(resolvePutOptions({ maxAttempts: 1 }).maxAttempts).toBe(1)
})

test('a consumer’s middleware is inside of the instance’s, and its context comes before the instance’s', () => {
  const [outer, inner] = [() => {}, () => {}]
  const instance = resolveBugleOptions({ connectionString, middleware: [outer], context: 'instance' }, {})
  expect(resolveConsumerOptions({ middleware: [inner] }, instance)).toMatchObject({
    middleware: [outer, inner],
    context: 'instance',
  })
  expect(resolveConsumerOptions({ context: null }, instance).context).toBeNull()
})

test('without an option the connection comes from DATABASE_URL; LISTEN goes its own way if told to', () => {
  const env = { DATABASE_URL: 'postgres://u@db1/shop' }
  const alone = resolveBugleOptions({}, env)
  expect(alone.connection).toMatchObject({ hosts: [{ host: 'db1', port: 5432 }], database: 'shop', user: 'u' })
  expect(alone.listenConnection).toBe(alone.connection)
  const apart = resolveBugleOptions({ listenConnectionString: 'postgres://u@direct/shop' }, env)
  expect(apart.connection.hosts).toEqual([{ host: 'db1', port: 5432 }])
  expect(apart.listenConnection.hosts).toEqual([{ host: 'direct', port: 5432 }])
})

test('a refusal of listenConnectionString names that option', async () => {
  const refused = await refusal(() => resolveBugleOptions({ connectionString, listenConnectionString: 'nonsense' }, {}))
  expect(refused.message).toMatch(/^listenConnectionString/)
})

test('times of death and of a stop: what is refused', () => {
  const refused: [options: object, message: RegExp][] = [
    [{ rescueAfterMs: 299 }, /^rescueAfterMs must be/],
    [{ rescueAfterMs: 10_000, hungAfterMs: 9_999 }, /^hungAfterMs must be at least rescueAfterMs, 10000/],
    [{ maxCrashes: 0 }, /^maxCrashes must be/],
    [{ graceMs: -1 }, /^graceMs must be/],
    [{ abortMs: Number.NaN }, /^abortMs must be/],
    [{ handleSignals: 'yes' }, /^handleSignals must be/],
    [{ keep: { failedForMs: -1 } }, /^keep.failedForMs must be/],
    [{ keep: { failed: 1 } }, /did you mean failedForMs/],
    [{ keep: 'all' }, /^keep must be an object/],
  ]
  for (const [options, message] of refused) {
    expect(() => resolveBugleOptions({ connectionString, ...options } as never, {})).toThrow(message)
  }
  expect(resolveBugleOptions({ connectionString, keep: { failedForMs: null } }, {}).keep).toEqual({
    failedForMs: null,
    archivedForMs: null,
  })
  expect(() => resolveConsumerOptions({ keep: 'none' } as never)).toThrow(/^keep must be "failed" or "all"/)
  expect(() => resolveConsumerOptions({ keep: {} } as never)).toThrow(/^keep.archivedForMs must be/)
  expect(() => resolveConsumerOptions({ timeoutMs: 0 })).toThrow(/^timeoutMs must be/)
  expect(() => resolveConsumerOptions({ timeoutMs: 2_147_483_648 })).toThrow(/^timeoutMs must be/)
  expect(() => resolvePutOptions({ timeoutMs: 1.5 })).toThrow(/^timeoutMs must be/)
  expect(() => resolveDrainOptions({ until: 'never' }, bugleDefaults as never)).toThrow(/^until must be/)
  expect(() => resolveStopTimes({ grace: 1 } as never, { graceMs: 1, abortMs: 1 })).toThrow(/grace/)
  expect(resolveConsumerOptions({ graceMs: Number.POSITIVE_INFINITY }).graceMs).toBe(Number.POSITIVE_INFINITY)
  expect(resolveConsumerOptions({ abortMs: 1 }, { ...bugleDefaults, graceMs: 7, context: undefined })).toMatchObject({
    graceMs: 7,
    abortMs: 1,
  })
})
