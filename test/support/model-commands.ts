import fc from 'fast-check'
import type { State } from './model.js'

/** A step. Jobs are named by their place among those that are there, so that a sequence can be shortened anywhere. */
export type Command =
  | { readonly do: 'put'; readonly queue: string; readonly job: NewJob; readonly keyMode?: KeyMode }
  | PutManyCommand
  | ClaimCommand
  | { readonly do: 'settle'; readonly runs: readonly RunEnd[] }
  | { readonly do: 'promote'; readonly queue: string; readonly limit: number }
  | { readonly do: 'requeue'; readonly jobs: readonly Pick[] }
  | RequeueCommand
  | { readonly do: 'cancel'; readonly job: Pick }
  | CollectCommand
  | { readonly do: 'pass'; readonly hours: number }

export interface PutManyCommand {
  readonly do: 'putMany'
  readonly queue: string
  readonly jobs: readonly NewJob[]
  readonly keyMode?: KeyMode
}

export interface NewJob {
  readonly priority?: number
  readonly kind?: string
  readonly key?: string
  readonly flag?: string
  readonly maxAttempts?: number
  readonly due?: { readonly inHours: number; readonly by: 'delayMs' | 'runAt' }
}

export type KeyMode = 'replace' | 'keep' | 'reject'

export interface ClaimCommand {
  readonly do: 'claim'
  readonly queue: string
  readonly limit: number
  readonly by: Claimer
  readonly kinds: readonly string[] | null
  readonly withoutFlags: readonly string[]
  /** They travel with it. */
  readonly acks: readonly AckPlan[]
  /** Jobs with a higher id than this one's only; a claim of all of them is to prove something. */
  readonly from?: Pick
}

/** A plain ack of a claimed job. */
export interface AckPlan {
  readonly nth: number
  readonly claim: ClaimChoice
}

/** A worker; 'nobody' has no row, so it gets no job. */
export type Claimer = 'first' | 'second' | 'nobody'

export interface RequeueCommand {
  readonly do: 'requeueMatching'
  readonly state: 'failed' | 'archived'
  readonly queue?: string
  readonly kind?: string
  /** Put at most so long ago. */
  readonly sinceHours?: number
  readonly limit?: number
}

/** At least so long ago; with neither, nothing is done. */
export interface CollectCommand {
  readonly do: 'collect'
  readonly failedHours?: number
  readonly archivedHours?: number
  readonly limit?: number
}

/** One of the rows in a state, or of all ids that there have been. */
export interface Pick {
  readonly of: State | 'ever'
  readonly nth: number
}

/** The end of a claimed job's run. */
export interface RunEnd extends AckPlan {
  readonly outcome: OutcomePlan
}

export type ClaimChoice =
  /** Of a job that runs. */
  | 'current'
  /** The same, but the outcome comes from another worker. */
  | 'of another'
  /** Settled before; most of all one whose job runs again. */
  | 'former'

/** `inHours` undefined: as the retry strategy says. */
export type OutcomePlan =
  | { readonly is: 'ack' | 'archive' | 'reject' | 'error' }
  | { readonly is: 'retry'; readonly inHours: number | undefined }
  | { readonly is: 'release' | 'partial'; readonly inHours: number }

// Few of each, so that jobs meet: under one key, of one kind, due in the same hour.
const queue = weighted([6, 'emails'], [1, 'media'])
const kind = fc.constantFrom('thumb', 'probe')
const keyMode = fc.constantFrom<KeyMode>('replace', 'keep', 'reject')
const nth = fc.nat(11)
const limit = fc.integer({ min: 1, max: 5 })
const delayHours = weighted([4, 0], [2, 1], [1, 2])

const newJob = record<NewJob>({
  priority: maybe(25, fc.integer({ min: -1, max: 2 })),
  kind: maybe(35, kind),
  key: maybe(50, weighted([4, 'k'], [1, 'l'])),
  flag: maybe(15, fc.constant('gpu')),
  maxAttempts: maybe(25, fc.integer({ min: 1, max: 3 })),
  due: maybe(
    30,
    fc.oneof(
      record<NonNullable<NewJob['due']>>({ inHours: fc.integer({ min: 0, max: 3 }), by: fc.constant('delayMs') }),
      record<NonNullable<NewJob['due']>>({ inHours: fc.integer({ min: -1, max: 3 }), by: fc.constant('runAt') }),
    ),
  ),
})

const outcome = either<OutcomePlan>(
  [2, record({ is: fc.constant('ack') })],
  [3, record({ is: fc.constant('archive') })],
  [3, record({ is: fc.constantFrom('reject', 'error') })],
  [3, record({ is: fc.constant('retry'), inHours: maybe(70, delayHours) })],
  [4, record({ is: fc.constantFrom('release', 'partial'), inHours: delayHours })],
)

const claimChoice = weighted([10, 'current'], [3, 'former'], [1, 'of another'])
const runEnd = record<RunEnd>({ nth, claim: claimChoice, outcome })

const claim = record<ClaimCommand>({
  do: fc.constant('claim'),
  queue,
  limit,
  by: weighted([14, 'first'], [4, 'second'], [1, 'nobody']),
  kinds: weighted([8, null], [1, ['thumb']], [1, ['probe', 'thumb']]),
  withoutFlags: weighted([6, []], [1, ['gpu']]),
  acks: fc.array(record<AckPlan>({ nth, claim: claimChoice }), { maxLength: 3, size: 'max' }),
  from: maybe(15, pick([1, 'ever'])),
})

const putMany = record<PutManyCommand>({
  do: fc.constant('putMany'),
  queue,
  jobs: some(newJob, 6),
  keyMode: maybe(30, keyMode),
})

const command = either<Command>(
  [8, record({ do: fc.constant('put'), queue, job: newJob, keyMode: maybe(30, keyMode) })],
  [5, putMany],
  [12, claim],
  [12, record({ do: fc.constant('settle'), runs: some(runEnd, 6) })],
  [2, record({ do: fc.constant('promote'), queue, limit })],
  [3, record({ do: fc.constant('requeue'), jobs: some(pick([4, 'failed'], [4, 'archived'], [1, 'ever']), 4) })],
  [
    3,
    record<RequeueCommand>({
      do: fc.constant('requeueMatching'),
      state: fc.constantFrom('failed', 'archived'),
      queue: maybe(25, queue),
      kind: maybe(25, kind),
      sinceHours: maybe(25, fc.nat(2)),
      limit: maybe(25, fc.integer({ min: 1, max: 2 })),
    }),
  ],
  [4, record({ do: fc.constant('cancel'), job: pick([3, 'running'], [2, 'ready'], [1, 'scheduled'], [1, 'ever']) })],
  [
    3,
    record<CollectCommand>({
      do: fc.constant('collect'),
      failedHours: maybe(60, weighted([2, 0], [1, 1], [1, 2])),
      archivedHours: maybe(70, weighted([2, 0], [1, 1], [1, 2])),
      limit: maybe(60, weighted([3, 1], [1, 2])),
    }),
  ],
  [5, record({ do: fc.constant('pass'), hours: fc.integer({ min: 1, max: 3 }) })],
)

/** Up to `most` commands, half of that on the average. The first puts jobs: without any the others do nothing. */
export function commandSequence(most: number): fc.Arbitrary<Command[]> {
  // 'max': the length is not kept short on purpose.
  const others = fc.array(command, { maxLength: most - 1, size: 'max' })
  return fc.tuple(putMany, others).map(([first, rest]) => [first, ...rest])
}

function pick(...from: [weight: number, of: Pick['of']][]): fc.Arbitrary<Pick> {
  return record<Pick>({ of: weighted(...from), nth })
}

function some<T>(each: fc.Arbitrary<T>, most: number): fc.Arbitrary<T[]> {
  return fc.array(each, { minLength: 1, maxLength: most, size: 'max' })
}

function either<const T>(...choices: (readonly [weight: number, of: fc.Arbitrary<T>])[]): fc.Arbitrary<T> {
  // A counterexample is shrunk to the first choice where that will do.
  return fc.oneof({ withCrossShrink: true }, ...choices.map(([weight, arbitrary]) => ({ weight, arbitrary })))
}

function weighted<const T>(...values: (readonly [weight: number, value: T])[]): fc.Arbitrary<T> {
  return either<T>(...values.map(([weight, value]) => [weight, fc.constant(value)] as const))
}

function maybe<T>(percent: number, value: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> {
  return either<T | undefined>([100 - percent, fc.constant(undefined)], [percent, value])
}

/** Fields that are undefined are left out: exactOptionalPropertyTypes says so, and counterexamples are shorter. */
function record<T>(fields: { readonly [Name in keyof T]-?: fc.Arbitrary<T[Name] | undefined> }): fc.Arbitrary<T> {
  return fc
    .record(fields as Record<string, fc.Arbitrary<unknown>>)
    .map((all) => Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as T)
}
