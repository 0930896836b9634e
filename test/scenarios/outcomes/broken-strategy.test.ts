import { expect } from 'vitest'
import { type RetryDecision, reject, retry } from '../../../src/index.js'
import { broken, throwing } from '../../support/broken.js'
import { test } from '../../support/database.js'
import { refusing } from '../../support/hostile.js'
import { fullRows } from '../../support/rows.js'

/** Strategies that throw or answer nonsense, and what the error of each says. */
const nonsense: Record<string, { decide: () => unknown; says: RegExp }> = {
  'throws an Error': {
    decide: () => Promise.reject(new Error('my bug')),
    says: /retryStrategy\(\) threw Error: my bug/,
  },
  'throws synchronously': { decide: throwing(new RangeError('my bug')), says: /threw RangeError: my bug/ },
  'throws undefined': { decide: throwing(undefined), says: /threw undefined/ },
  'answers with a thenable that rejects': {
    // biome-ignore lint/suspicious/noThenProperty: a thenable is what is shown
    decide: () => ({ then: (_: unknown, refuse: (reason: unknown) => void) => refuse('no') }),
    says: /threw "no"/,
  },
  'answers nothing': { decide: () => undefined, says: /must be false.*; got undefined/ },
  'answers true': { decide: () => true, says: /got true/ },
  'answers a text': { decide: async () => 'later', says: /got "later"/ },
  'answers nothing in an object': { decide: () => ({}), says: /maxAttempts must be a whole number/ },
  'answers no run at all': { decide: () => ({ maxAttempts: 0 }), says: /maxAttempts must be .*got 0/ },
  'answers runs without an end': { decide: () => ({ maxAttempts: Number.POSITIVE_INFINITY }), says: /got Infinity/ },
  'answers a delay of NaN': { decide: () => ({ delayMs: Number.NaN }), says: /delayMs must be .*got NaN/ },
  'answers delays before now': {
    decide: () => ({ maxAttempts: 4, delaysMs: [0, -5] }),
    says: /delaysMs\[1\] .*got -5/,
  },
  'answers both ways': { decide: () => ({ maxAttempts: 4, delayMs: 5 }), says: /delayMs beside/ },
  'answers with a slip': { decide: () => ({ maxAttemps: 3 }), says: /did you mean maxAttempts/ },
  'answers in retries': { decide: () => ({ retries: 3 }) as never, says: /give maxAttempts: 4/ },
  'answers what cannot be read': {
    decide: () => Object.defineProperty({}, 'maxAttempts', { get: refusing }),
    says: /./,
  },
  'answers a proxy that refuses': {
    decide: () => new Proxy({ maxAttempts: 4 }, { ownKeys: refusing }),
    says: /a trap/,
  },
}

test('D3 a strategy that throws or answers nonsense: the job fails with both errors told, and no loop', async ({
  db,
}) => {
  const bugle = db.bugle()
  const told = db.collect(bugle, 'callback:error')
  const failed = db.collect(bugle, 'job:failed')
  const acked = db.collect(bugle, 'job:acked')
  const names = Object.keys(nonsense)
  const runs: unknown[] = []
  const consumer = await bugle.consume(
    'emails',
    ({ payload }) => {
      runs.push(payload)
      if (payload !== 'good') broken()
    },
    {
      concurrency: 1,
      retryStrategy: ({ payload }) => nonsense[payload as string]?.decide() as RetryDecision,
    },
  )
  // After each a good one, in the only slot; and each would have had more runs by its own limit.
  const payloads = names.flatMap((name) => [name, 'good'])
  await bugle.putMany('emails', payloads, { maxAttempts: 5 })
  await consumer.idle()
  // Each once. On a busy machine a job that was fetched ahead and goes back may be overtaken.
  expect(runs.toSorted()).toEqual(payloads.toSorted())
  expect(acked.all).toHaveLength(names.length)
  const rows = await fullRows(db)
  expect(rows.map(({ payload }) => payload)).toEqual(names)
  for (const { id, payload, last_error, ...row } of rows) {
    const name = payload as string
    const says = expect.stringMatching(nonsense[name]?.says ?? /never/)
    expect(row, name).toMatchObject({ state: 'failed', attempt: 1, worker_id: null })
    expect(last_error, name).toMatchObject({
      message: expect.stringMatching(/^broken \(and the retry strategy failed: /),
      failedBy: 'exhausted',
      attempt: 1,
      errors: [{ message: 'broken' }, { message: says }],
    })
    const event = failed.all.find((one) => one.id === id)
    const errors = [{ message: 'broken' }, { message: says }]
    expect(event, name).toMatchObject({ id, cause: 'exhausted', attempt: 1, error: { errors } })
    const report = told.all[runs.filter((run) => run !== 'good').indexOf(name)]
    expect(report, name).toEqual({ queue: 'emails', where: 'retryStrategy', error: expect.any(Error) })
    expect(report?.error.message, name).toEqual(says)
  }
  expect(told.all).toHaveLength(names.length)
})

/** An error whose message can be read `looks` times only. */
function fading(looks: number): Error {
  let left = looks
  return Object.defineProperty(new Error('x'), 'message', {
    get() {
      left -= 1
      if (left < 0) throw new Error('no message any more')
      return 'fading'
    },
  })
}

const fadingEnds: Record<string, (looks: number) => unknown> = {
  'is thrown where the strategy is broken': (looks) => Promise.reject(fading(looks)),
  'is the reason of a reject': (looks) => reject(fading(looks)),
  'is the reason of a retry': (looks) => retry({ reason: fading(looks) }),
}

for (const [what, end] of Object.entries(fadingEnds)) {
  test(`D3 an error that can be read only so many times, and ${what}: the failure is stored`, async ({ db }) => {
    const bugle = db.bugle()
    const acked = db.collect(bugle, 'job:acked')
    await bugle.consume('emails', ({ payload }) => (payload === 'good' ? undefined : end(payload as number)), {
      concurrency: 1,
      retryStrategy: broken,
    })
    await bugle.putMany('emails', [0, 1, 2, 3, 4, 'good'])
    await acked.next()
    const failed = { state: 'failed', attempt: 1, worker_id: null }
    expect(await fullRows(db)).toMatchObject([failed, failed, failed, failed, failed])
  })
}
