import { describe, expect } from 'vitest'
import * as z from 'zod'
import {
  ack,
  type Bugle,
  type BugleEventName,
  type BugleEvents,
  type BugleOptions,
  type ConsumeOptions,
  type Handler,
  partial,
  reject,
  release,
  retry,
} from '../../../src/index.js'
import { signal, type TestDatabase, test } from '../../support/database.js'
import { tableAfter } from '../../support/documents.js'

/** How to make a run end as a row of the table in src/guides/retries.md says. */
interface Ending {
  readonly handler: Handler<unknown, Bugle> | Record<string, Handler<unknown, Bugle>>
  readonly options?: ConsumeOptions
  readonly bugle?: BugleOptions
}

const delayMs = 3_600_000
const strategyMs = 7_200_000
const retries = { retryStrategy: { maxAttempts: 2, delaysMs: strategyMs } } as const
const last = { retryStrategy: { maxAttempts: 1 } } as const
const fail = (): never => {
  throw new Error('broken')
}

const endings: Record<string, Ending> = {
  'ack(result), or any other return': { handler: () => ack({ sent: 1 }) },
  "the same, with keep: 'all'": { handler: () => ({ sent: 1 }), options: { keep: 'all' } },
  'reject(reason)': { handler: () => reject('no') },
  'a throw, with attempts left': { handler: fail, options: retries },
  'a throw, the last attempt': { handler: fail, options: last },
  'retry(), with attempts left': { handler: () => retry(), options: retries },
  'retry({ delayMs }), with attempts left': { handler: () => retry({ delayMs }), options: retries },
  'retry(), the last attempt': { handler: () => retry(), options: last },
  'release({ delayMs })': { handler: () => release({ delayMs }) },
  'partial(progress, { delayMs })': { handler: () => partial({ page: 2 }, { delayMs }) },
  "with outcome: 'explicit': no outcome": { handler: () => 'done', options: { outcome: 'explicit' } },
  'a payload that schema or codec refuses': {
    handler: () => expect.unreachable(),
    bugle: { schemas: { emails: z.object({ to: z.email() }) } },
  },
  "a result that JSON cannot hold, with keep: 'all'": { handler: () => 1n, options: { keep: 'all' } },
  "no handler for its kind, with unknownKinds: 'fail'": {
    handler: { other: () => expect.unreachable() },
    options: { unknownKinds: 'fail' },
  },
  'a throw, retry, release or partial after cancel(id)': {
    handler: async ({ id }, ctx) => {
      expect(await ctx.bugle.cancel(id)).toBe('requested')
      return release({ delayMs })
    },
  },
  'a throw or an ack after its timeoutMs, with attempts left': {
    handler: (_job, ctx) => aborted(ctx.signal),
    options: { ...retries, timeoutMs: 1 },
  },
  'a throw after the abort of a stop': {
    handler: async (_job, ctx) => {
      void ctx.bugle.close({ graceMs: 0 })
      await aborted(ctx.signal)
      fail()
    },
  },
}

function aborted(given: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    given.addEventListener('abort', () => resolve())
    if (given.aborted) resolve()
  })
}

const ends = [
  'job:acked',
  'job:failed',
  'job:retrying',
  'job:released',
  'job:partial',
  'job:interrupted',
  'job:stale',
] as const

describe('the guide’s table of how a run can end', () => {
  const table = tableAfter('src/guides/retries.md', '## How a run can end')

  test('is the list of what is tried here', () => {
    expect(table.map(([end]) => end)).toEqual(Object.keys(endings))
  })

  for (const [end = '', state, attempt, runAt, archive, event] of table) {
    test(`${end}: ${state}, ${event}`, async ({ db }) => {
      const seen = await runOnce(db, endings[end] ?? expect.fail(`nothing is tried for ${end}`))
      expect(seen).toEqual({ state, attempt, runAt, archive, event })
    })
  }
})

async function runOnce(db: TestDatabase, { handler, options = {}, bugle: own = {} }: Ending) {
  const bugle = db.bugle(own)
  const ended = signal<string>()
  for (const name of ends) bugle.on(name, (data) => ended.resolve(shown(name, data)))
  // The second run, so that an attempt that is given back can be told from one that never was.
  const [row] = await db.sql.unsafe<{ id: string }[]>(`
    insert into ${db.s}.job (queue, kind, payload, attempt, progress)
    values ('emails', 'some', '{"to": "nobody"}', 1, '{"page": 1}') returning id`)
  const id = row?.id ?? ''
  const consuming = bugle.consume('emails', handler, {
    ...options,
    ...(typeof options.retryStrategy === 'object' && { retryStrategy: oneMore(options.retryStrategy) }),
  })
  // A handler may close the instance before its consumer has told that it is there.
  await consuming
  const event = await ended.promise
  // Another instance: this one may be closed by now.
  const after = await db.bugle().job(id)
  if (after === null) return { state: 'gone', attempt: '', runAt: '', archive: 'no', event }
  const [{ waits } = { waits: 0 }] = await db.sql.unsafe<{ waits: number }[]>(
    `select round(extract(epoch from run_at - now()) / 3600)::int as waits from ${db.s}.job where id = $1
     union all select 0`,
    [id],
  )
  return {
    state: after.state,
    attempt: { 1: 'given back', 2: 'kept' }[after.attempt],
    runAt:
      after.state === 'ready' ? 'now' : { 0: 'unchanged', 1: 'now + delayMs', 2: "now + the strategy's delay" }[waits],
    archive: after.state !== 'archived' ? 'no' : after.result === null ? 'without a result' : 'with its result',
    event,
  }
}

/** The row has had a run before. */
function oneMore(strategy: { readonly maxAttempts: number }): { readonly maxAttempts: number } {
  return { ...strategy, maxAttempts: strategy.maxAttempts + 1 }
}

function shown(name: BugleEventName, data: BugleEvents[BugleEventName]): string {
  return name === 'job:failed' && 'cause' in data ? `${name} ${data.cause}` : name
}
