/**
 * Checked by `tsc -p test/tsconfig.json`, which has `exactOptionalPropertyTypes`, and never run: an option that may be
 * undefined is as good as left out; and what must not compile.
 */
import { type EmbeddedOptions, startEmbedded } from '../../src/embedded/index.js'
import {
  type Bugle,
  type BugleOptions,
  type CollectOptions,
  type ConsumeOptions,
  createBugle,
  type DrainOptions,
  exponential,
  fixed,
  type JobChanges,
  type JobsFilter,
  linear,
  type PutOptions,
  partial,
  release,
  retry,
  type StopOptions,
} from '../../src/index.js'
import {
  type DrainAllOptions,
  type RunOneOptions,
  startTestDatabase,
  type TestContextFields,
  type TestDatabaseOptions,
  testContext,
  type WaitForJobOptions,
} from '../../src/testing/index.js'

/** What an application has read from somewhere. */
type Maybe<Options> = { [Name in keyof Options]: Options[Name] | undefined }

export async function everywhere(
  bugle: Bugle,
  given: {
    bugle: Maybe<Required<BugleOptions>>
    put: Maybe<Required<Omit<PutOptions, 'tx'>>>
    consume: Maybe<Required<ConsumeOptions>>
    drain: Maybe<Required<DrainOptions>>
    stop: Maybe<Required<StopOptions>>
    jobs: Maybe<Required<JobsFilter>>
    collect: Maybe<Required<CollectOptions>>
    edit: Maybe<Required<JobChanges>>
    fixed: Maybe<Required<NonNullable<Parameters<typeof fixed>[0]>>>
    linear: Maybe<Required<NonNullable<Parameters<typeof linear>[0]>>>
    exponential: Maybe<Required<NonNullable<Parameters<typeof exponential>[0]>>>
    embedded: Maybe<Required<EmbeddedOptions>>
    database: Maybe<Required<TestDatabaseOptions>>
    one: Maybe<Required<RunOneOptions>>
    all: Maybe<Required<DrainAllOptions>>
    wait: Maybe<Required<WaitForJobOptions>>
    context: Maybe<Required<TestContextFields>>
  },
): Promise<void> {
  createBugle(given.bugle)
  await bugle.put('q', 1, given.put)
  await bugle.putMany('q', [1], () => given.put)
  const consumer = await bugle.consume('q', () => {}, given.consume)
  await bugle.drain('q', () => {}, given.drain)
  await consumer.stop(given.stop)
  await bugle.close(given.stop)
  await bugle.jobs(given.jobs)
  await bugle.job('1', { contents: given.jobs.contents })
  await bugle.collect(given.collect)
  await bugle.edit('1', { ...given.edit, delayMs: '5m' })
  await bugle.edit('1', given.edit)
  await bugle.result('1', { signal: given.collect.signal })
  await bugle.stats('q', { exact: given.jobs.contents })
  await bugle.put('q', 1, { unique: { key: 'a', while: undefined, forMs: given.put.delayMs } })
  void [bugle.once('database:up', { signal: given.collect.signal })]
  await bugle.requeue('1', { signal: given.collect.signal, onProgress: given.collect.onProgress })
  void [fixed(given.fixed), linear(given.linear), exponential(given.exponential)]
  const { delayMs } = given.put
  void [retry({ delayMs, reason: undefined }), release({ delayMs }), partial(1, { delayMs })]
  await startEmbedded(given.embedded)
  await startTestDatabase(given.database)
  const options: [RunOneOptions, DrainAllOptions, WaitForJobOptions] = [given.one, given.all, given.wait]
  void [options, testContext(given.context)]

  // @ts-expect-error the name of something else, misspelt: the job would be written outside of the transaction
  await bugle.put('q', 1, { tx: undefined })
  // @ts-expect-error a variable that was never set must not widen the filter to every failed job
  await bugle.requeue({ queue: undefined })
}
