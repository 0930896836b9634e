import { AsyncLocalStorage } from 'node:async_hooks'
import { expect, test, vi } from 'vitest'
import { resolveConsumerOptions } from '../../../../src/consume/options.js'
import { createRunJobs } from '../../../../src/consume/run/run-job.js'
import { createRunScopes } from '../../../../src/consume/run/run-scope.js'
import { createRuns, type Run } from '../../../../src/consume/run/runs.js'
import { createEvents } from '../../../../src/events.js'
import type { Job, JobContext, JobHandler, Middleware } from '../../../../src/job.js'
import { createPayloads, type Payloads } from '../../../../src/payloads.js'
import { testJob } from '../../../../src/testing/handler.js'
import { settlerUnderTest, turns } from '../../../support/settler.js'

interface UnderTest {
  readonly options?: object
  readonly payloads?: Payloads
}

const stored = createPayloads({ schemas: {}, codec: null, maxPayloadBytes: 1_000 })

/** One run of that handler; its outcome is written at once. */
function runUnderTest(handler: JobHandler<Job>, { options = {}, payloads = stored }: UnderTest = {}) {
  const written: object[] = []
  const ends: string[] = []
  const { settler } = settlerUnderTest(async (batch) => {
    written.push(...batch.map(({ ending }) => ending))
    return []
  })
  const events = createEvents()
  const told: object[] = []
  events.on('job:failed', ({ cause, error, runMs }) => void told.push({ cause, message: error.message, runMs }))
  events.on('callback:error', ({ error }) => void told.push({ message: error.message }))
  const runs = createRuns({
    now: () => performance.now(),
    newScope: createRunScopes(),
    onTimeout: () => {},
    onStuck: () => {},
    onAcked: (run, settled) => runJobs.acked(run, settled),
  })
  const runJobs = createRunJobs({
    queue: 'q',
    bugle: undefined,
    options: resolveConsumerOptions({ retryStrategy: false, ...options }),
    handlerFor: () => handler,
    payloads,
    settler,
    ackInTransaction: async () => {},
    onEnded: () => {},
    onLateAck: () => {},
    onDropped: () => void ends.push('dropped'),
    onAckInTransaction: () => {},
    onSettled: (_run, end) => void ends.push(end),
    events,
  })
  const claimed = { job: testJob('x'), lease: '7', workerId: '5', bytes: 1, timeoutMs: null, waitMs: 0 }
  const [run] = runs.add([claimed]) as [Run]
  return {
    run,
    events,
    begin: () => runJobs.runJob(run),
    /** It has run, and what it says of itself has come. */
    async over() {
      await runJobs.runJob(run)
      await turns()
      return { written, ends, told }
    },
    written,
    ends,
    told,
  }
}

const acked = [{ is: 'acked' }]

test('a handler that returns at once makes no promise; when its slot is free is what comes back', async () => {
  const { begin, written, ends } = runUnderTest(() => 'a result that is not kept')
  const before = performance.now()
  const at = begin()
  expect(at).toBeGreaterThanOrEqual(before)
  expect(at).toBeLessThanOrEqual(performance.now())
  await turns()
  expect(written).toEqual(acked)
  expect(ends).toEqual(['completed'])
})

test('a handler that throws at once fails its job, whose slot is taken until that is written', async () => {
  const { begin, written, told } = runUnderTest(() => {
    throw new Error('no')
  })
  const running = begin()
  expect(running).toBeInstanceOf(Promise)
  await running
  expect(written).toMatchObject([{ is: 'failed', error: { message: 'no', failedBy: 'exhausted' } }])
  expect(told).toEqual([{ cause: 'exhausted', message: 'no', runMs: expect.any(Number) }])
})

/** As query builders are: it begins with the call of its `then`. */
class Lazy extends Promise<number> {
  onThen = (): void => {}
  // biome-ignore lint/suspicious/noThenProperty: a subclass with a `then` of its own is what is shown
  override then: Promise<number>['then'] = (...callbacks) => {
    this.onThen()
    return Promise.resolve(1).then(...callbacks)
  }
}

test('a subclass of Promise is waited for by its own `then`, called once, in the context of the run', async () => {
  const storage = new AsyncLocalStorage<string>()
  const seen: unknown[] = []
  const { over } = runUnderTest(() => {
    storage.enterWith('the run')
    const lazy = new Lazy(() => {})
    lazy.onThen = () => void seen.push(storage.getStore())
    return lazy
  })
  expect(await over()).toEqual({ written: acked, ends: ['completed'], told: [] })
  expect(seen).toEqual(['the run'])
  expect(storage.getStore()).toBeUndefined()
})

test('a thenable is waited for, by one call of its `then`; what it refuses with is the run’s error', async () => {
  const calls: string[] = []
  const { over } = runUnderTest(() => ({
    // biome-ignore lint/suspicious/noThenProperty: a thenable is what is shown
    then(_: unknown, refuse: (reason: unknown) => void) {
      calls.push('then')
      setImmediate(refuse, new Error('refused later'))
    },
  }))
  expect(await over()).toMatchObject({ written: [{ is: 'failed', error: { message: 'refused later' } }] })
  expect(calls).toEqual(['then'])
})

test('a promise of Node’s own is not asked for a `then` that was hung on it', async () => {
  const own = Object.assign(Promise.resolve(1), {
    // biome-ignore lint/suspicious/noThenProperty: a promise with a `then` of its own is what is shown
    then: () => {
      throw new Error('asked')
    },
  })
  const { over } = runUnderTest(() => own)
  expect(await over()).toEqual({ written: acked, ends: ['completed'], told: [] })
})

test('an outcome that cannot be looked at fails the job; the slot and the events of the run live', async () => {
  const hostile = (): unknown =>
    new Proxy(
      {},
      {
        has: () => true,
        get: (_, name) => {
          if (name === 'then') return undefined
          throw new Error(`no look at ${String(name)}`)
        },
      },
    )
  for (const handler of [() => hostile(), async () => hostile()]) {
    const { over } = runUnderTest(handler)
    const { ends, told } = await over()
    expect(ends).toEqual(['failed'])
    expect(told).toMatchObject([{ cause: 'invalid', message: 'no look at type' }])
  }
})

test('what is looked at of a result is looked at in the context of the run', async () => {
  const storage = new AsyncLocalStorage<string>()
  const seen: unknown[] = []
  const { over, events } = runUnderTest(async () => {
    storage.enterWith('the run')
    return new Proxy(
      {},
      {
        has: () => {
          seen.push(storage.getStore())
          storage.enterWith('a trap')
          return false
        },
      },
    )
  })
  events.on('job:acked', () => void seen.push(storage.getStore()))
  await storage.run('the consumer', over)
  expect(seen.slice(0, -1).every((store) => store === 'the consumer' || store === 'the run')).toBe(true)
  expect(seen.at(-1)).toBe('the consumer')
})

test('a run that is aborted while its payload is prepared does not begin', async () => {
  const handler = vi.fn()
  const payloads: Payloads = { ...stored, isAsStored: false, prepare: async (job) => job }
  const { begin, run, written, ends } = runUnderTest(handler, { payloads })
  const running = begin()
  run.abort('SHUTDOWN', 'its consumer stops')
  await running
  expect(handler).not.toHaveBeenCalled()
  expect(written).toMatchObject([{ is: 'waiting', keptAttempt: false }])
  expect(ends).toEqual(['interrupted'])
})

test('a run that is aborted while its handler waits is interrupted if that throws, else acked', async () => {
  for (const [handler, how] of [
    [(_: Job, { signal }: JobContext) => rejectedBy(signal), 'interrupted'],
    [(_: Job, { signal }: JobContext) => rejectedBy(signal).catch(() => {}), 'completed'],
  ] as const) {
    const { begin, run, ends } = runUnderTest(handler)
    const running = begin()
    await turns()
    expect(ends).toEqual([])
    run.abort('SHUTDOWN', 'its consumer stops')
    await running
    await turns()
    expect(ends).toEqual([how])
  }
})

function rejectedBy(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
}

test('a payload is prepared at once or later; what refuses it fails the job before its handler', async () => {
  const seen: unknown[] = []
  const prepared = (job: Job): Job => ({ ...job, payload: 'prepared' })
  for (const prepare of [prepared, async (job: Job) => prepared(job)]) {
    const { over } = runUnderTest(({ payload }) => void seen.push(payload), {
      payloads: { ...stored, isAsStored: false, prepare },
    })
    expect(await over()).toEqual({ written: acked, ends: ['completed'], told: [] })
  }
  expect(seen).toEqual(['prepared', 'prepared'])
  const refuse = (): never => {
    throw new Error('no payload of ours')
  }
  for (const prepare of [refuse, async () => refuse()]) {
    const { over } = runUnderTest(() => void seen.push('ran'), {
      payloads: { ...stored, isAsStored: false, prepare },
    })
    expect(await over()).toMatchObject({ told: [{ cause: 'invalid', message: 'no payload of ours' }] })
  }
  expect(seen).toHaveLength(2)
})

test('a middleware waits for the handler, whatever it returns, and has its outcome', async () => {
  const seen: unknown[] = []
  const looksOn: Middleware = async (_job, _context, next) => void seen.push((await next()).type)
  const broken = (): never => {
    throw new Error('no')
  }
  for (const handler of [() => 1, async () => 1, () => new Lazy(() => {}), broken, async () => broken()]) {
    const { over } = runUnderTest(handler, { options: { middleware: [looksOn] } })
    await over()
  }
  expect(seen).toEqual(['ack', 'ack', 'ack', 'error', 'error'])
})
