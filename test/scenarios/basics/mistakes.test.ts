import { expect } from 'vitest'
import { type Bugle, createBugle, exponential } from '../../../src/index.js'
import { type TestDatabase, test } from '../../support/database.js'
import { refusal } from '../../support/refusal.js'

/*
 * What a newcomer gets wrong in the first hour, as JavaScript lets them, and what they read then: the whole message,
 * since it is the message that must help. What is wrong with the way to the database is in
 * connection/unreachable.test.ts, what handlers do wrong in outcomes/told.test.ts and outcomes/lost-outcomes.test.ts,
 * `tx` in put/misused-transactions.test.ts.
 */
type Call = (bugle: Bugle, db: TestDatabase) => unknown

const cycle: Record<string, unknown> = {}
cycle.self = cycle

/** Typed as nothing, since the types refuse all of it. */
const any = (value: unknown): never => value as never

const mistakes: Record<string, readonly [call: Call, message: RegExp]> = {
  'the URL is the first argument': [
    (_, db) => createBugle(any(db.connectionString)),
    /^createBugle options must be an object of options; got string: give \{ connectionString \}$/,
  ],
  'the handler comes third': [
    (bugle) =>
      bugle.consume(
        'q',
        any({ concurrency: 5 }),
        any(() => {}),
      ),
    /^the handler comes second: consume\(queue, handler, options\)$/,
  ],
  'the handler of a drain comes third': [
    (bugle) =>
      bugle.drain(
        'q',
        any({}),
        any(() => {}),
      ),
    /^the handler comes second: drain\(queue, handler, options\)$/,
  ],
  'there is no queue': [
    (bugle) => Reflect.apply(bugle.consume, bugle, [async function work() {}]),
    /^queue must be a string of 1 to 128 characters .*; got the function work$/,
  ],
  'there is no handler': [
    (bugle) => Reflect.apply(bugle.consume, bugle, ['q']),
    /^handler must be a function, or an object with a function for each kind; got undefined$/,
  ],
  'the handler was called': [
    (bugle) => bugle.consume('q', any(Promise.resolve())),
    /^handler must be a function, .*; got a promise: give the function, and not its call$/,
  ],
  'a handler of a kind is none': [
    (bugle) => bugle.consume('q', any({ thumb: './thumb.js' })),
    /^handler of kind "thumb" must be a function; got "\.\/thumb\.js"$/,
  ],
  "an option has pg-boss's name": [
    (bugle) => bugle.consume('q', () => {}, any({ teamSize: 5 })),
    /^consume options: there is no option "teamSize"; did you mean concurrency\?$/,
  ],
  "an option has BullMQ's name": [
    (bugle) => bugle.put('q', 1, any({ attempts: 5 })),
    /^put options: there is no option "attempts"; did you mean maxAttempts\?$/,
  ],
  "an option has Graphile Worker's name": [
    (_, db) => createBugle(any({ connectionString: db.connectionString, pollInterval: 5 })),
    /^createBugle options: there is no option "pollInterval"; did you mean sweepMs\?$/,
  ],
  'an option of consume is given to createBugle': [
    (_, db) => createBugle(any({ connectionString: db.connectionString, concurrency: 5 })),
    /^createBugle options: there is no option "concurrency"; it is an option of consume$/,
  ],
  'an option is misspelt': [
    (bugle) => bugle.put('q', 1, any({ prioritty: 5 })),
    /^put options: there is no option "prioritty"; did you mean priority\?$/,
  ],
  'a duration has no unit': [
    (bugle) => bugle.put('q', 1, { delayMs: any('5') }),
    /^delayMs must be milliseconds from 0 up, or a duration such as '90s', '15m', '2h' or '7d'; got "5"$/,
  ],
  'a moment is a text': [
    (bugle) => bugle.put('q', 1, { runAt: any('2027-01-01') }),
    /^runAt must be a valid Date, .*; got "2027-01-01"$/,
  ],
  'a moment and a delay': [
    (bugle) => bugle.put('q', 1, { runAt: new Date(), delayMs: 5 }),
    /^put options: give runAt or delayMs, not both$/,
  ],
  'the payload comes first': [
    (bugle) => bugle.put(any({ to: 'a' }), any('emails')),
    /^queue must be a string of 1 to 128 characters .*; got \[object Object\]$/,
  ],
  'there is no payload': [
    (bugle) => Reflect.apply(bugle.put, bugle, ['q']),
    /^payload is undefined, which JSON cannot hold$/,
  ],
  'a Map in the payload': [
    (bugle) => bugle.put('q', { seen: new Map() }),
    /^payload\.seen is a Map .*, and would be stored as \{\}$/,
  ],
  'a cycle in the payload': [
    (bugle) => bugle.put('q', cycle),
    /^payload\.self is part of a cycle, which JSON cannot hold$/,
  ],
  'a BigInt in the payload': [
    (bugle) => bugle.put('q', { n: 5n }),
    /^payload\.n is a BigInt, .*; write it as a string$/,
  ],
  'NaN in the payload': [(bugle) => bugle.put('q', { n: Number.NaN }), /^payload\.n is NaN, which JSON cannot hold$/],
  'an Error as the payload': [
    (bugle) => bugle.put('q', new Error('x')),
    /^payload is an Error, whose message and stack JSON would leave out$/,
  ],
  'a payload of 2 MB': [
    (bugle) => bugle.put('q', 'x'.repeat(2_000_000)),
    /^payload must be at most 1048576 bytes .*; got 2000002 bytes: raise maxPayloadBytes, or store the data elsewhere$/,
  ],
  'one payload for putMany': [(bugle) => bugle.putMany('q', any({ to: 'a' })), /^putMany: payloads must be an array; /],
  'a strategy that was not called': [
    (bugle) => bugle.consume('q', () => {}, { retryStrategy: any(exponential) }),
    /^retryStrategy must be what exponential\(\) returns; got exponential$/,
  ],
  'a misspelt event': [
    (bugle) => bugle.on(any('job:fail'), () => {}),
    /^there is no event "job:fail"; did you mean job:failed\?$/,
  ],
  'an event of other libraries': [
    (bugle) => bugle.on(any('completed'), () => {}),
    /^there is no event "completed"; did you mean job:acked\?$/,
  ],
  'a number as an id': [(bugle) => bugle.job(any(5)), /^id must be .*; got 5$/],
  'a logger that is none': [
    (_, db) => createBugle(any({ connectionString: db.connectionString, logger: true })),
    /^logger must have the functions info, warn and error, or be false; got true$/,
  ],
  'tables that nobody has made': [
    async (_, db) => db.bugle({ schema: 'not_migrated' }).put('q', 1),
    /^schema "not_migrated" has no tables of Bugle's: run `await bugle\.migrate\(\)` once$/,
  ],
  'a queue that is consumed twice': [
    async (bugle) => {
      await bugle.consume('twice', () => {})
      await bugle.consume('twice', () => {})
    },
    /^this instance consumes the queue "twice" already: once is enough, with more concurrency$/,
  ],
  // The last: it closes the instance that all of them use.
  'an instance that is closed': [
    async (bugle) => {
      await bugle.close()
      await bugle.put('q', 1)
    },
    /^this Bugle instance is closed$/,
  ],
}

test('mistakes: each is refused in one line that says what to do, and nothing is written', async ({ db }) => {
  const bugle = db.bugle()
  for (const [what, [call, message]] of Object.entries(mistakes)) {
    const error = await refusal(() => call(bugle, db))
    expect.soft(error.message, what).toMatch(message)
    expect.soft(error.message, what).not.toContain('\n')
  }
  expect(await db.jobs()).toEqual([])
})
