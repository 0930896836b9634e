import { delay, flagNames, knownKeys, label, moment, oneOf, runTimeMs, wholeNumber } from '../checks.js'
import type { Duration } from '../duration.js'
import { BugleError } from '../errors.js'
import type { Transaction } from '../transactions/transaction.js'

/** What `put` takes. */
export interface PutOptions {
  /** Higher first; -32768 to 32767. @defaultValue 0 */
  readonly priority?: number | undefined
  /** Picks the handler where a consumer has one for each kind: 1 to 128 characters. */
  readonly kind?: string | undefined
  /** Not before that moment, by the database's clock. */
  readonly runAt?: Date | undefined
  /** Not before so long from now, by the database's clock; at most a hundred years. */
  readonly delayMs?: Duration | undefined | undefined
  /** At most one waiting job a queue and key: 1 to 255 characters. A job that runs does not wait any more. */
  readonly key?: string | undefined
  /**
   * What a put does if a job waits under its key. 'replace': it becomes that job, with all its attempts, under its id;
   * 'keep': the waiting one stays as it is; 'reject': KEY_TAKEN. @defaultValue 'replace'
   */
  readonly keyMode?: 'replace' | 'keep' | 'reject' | undefined
  /** For consumers that take no jobs with certain flags: at most 100, of 1 to 128 characters. @defaultValue [] */
  readonly flags?: readonly string[] | undefined
  /**
   * No retry after so many runs, and before them whatever the consumer's retry strategy allows, unless it says `false`;
   * partial runs count.
   */
  readonly maxAttempts?: number | undefined
  /** How long a run may take; overrides the consumer's `timeoutMs`. */
  readonly timeoutMs?: Duration | undefined
  /** The caller's transaction: the job commits or rolls back with it. */
  readonly tx?: Transaction
}

/** What `putMany` asks for the options of each job; `tx` and `keyMode` must be the same for all. */
export type PutOptionsOf<Payload, Options = PutOptions | undefined> = (payload: Payload, index: number) => Options

export const putDefaults = { priority: 0, keyMode: 'replace', flags: [] } as const satisfies Partial<PutOptions>

export interface ResolvedPutOptions {
  readonly priority: number
  readonly kind: string | null
  /** In ms since 1970. */
  readonly runAt: number | null
  readonly delayMs: number | null
  readonly key: string | null
  readonly keyMode: 'replace' | 'keep' | 'reject'
  readonly flags: readonly string[]
  readonly maxAttempts: number | null
  readonly timeoutMs: number | null
  readonly tx: Transaction | undefined
}

const plainPut: ResolvedPutOptions = Object.freeze({
  ...putDefaults,
  kind: null,
  runAt: null,
  delayMs: null,
  key: null,
  maxAttempts: null,
  timeoutMs: null,
  tx: undefined,
})

const putOptionNames = [
  ...Object.keys(putDefaults),
  'kind',
  'runAt',
  'delayMs',
  'key',
  'maxAttempts',
  'timeoutMs',
  'tx',
]

/** What other libraries take at the put, and Bugle at the consumer. */
const namesOfConsume = ['concurrency', 'retryStrategy', 'keep', 'onFailed']

/** @throws BugleError `INVALID_OPTION` */
export function resolvePutOptions(options: PutOptions | undefined): ResolvedPutOptions {
  if (options === undefined) return plainPut
  knownKeys('put options', options, putOptionNames, { consume: namesOfConsume })
  const {
    priority = putDefaults.priority,
    kind,
    runAt,
    delayMs,
    key,
    keyMode,
    flags,
    maxAttempts,
    timeoutMs,
    tx,
  } = options
  if (tx === undefined && Object.hasOwn(options, 'tx')) {
    // The name of something else, misspelt: the job would be written outside of the transaction.
    throw new BugleError('INVALID_OPTION', 'put options: tx is undefined; give a transaction, or leave tx out')
  }
  if (runAt !== undefined && delayMs !== undefined) {
    throw new BugleError('INVALID_OPTION', 'put options: give runAt or delayMs, not both')
  }
  if (keyMode !== undefined && key === undefined) {
    throw new BugleError('INVALID_OPTION', 'put options: keyMode says what to do about a key; give the key as well')
  }
  return {
    priority: wholeNumber('priority', priority, { min: -32_768, max: 32_767 }),
    kind: kind === undefined ? null : label('kind', kind, 128),
    // What was due before 1970 is due.
    runAt: runAt === undefined ? null : Math.max(0, moment('runAt', runAt).getTime()),
    delayMs: delayMs === undefined ? null : delay('delayMs', delayMs),
    key: key === undefined ? null : label('key', key, 255),
    keyMode: oneOf('keyMode', keyMode ?? putDefaults.keyMode, ['replace', 'keep', 'reject']),
    flags: flags === undefined ? putDefaults.flags : flagNames('flags', flags),
    maxAttempts: maxAttempts === undefined ? null : wholeNumber('maxAttempts', maxAttempts, { min: 1, max: 1e9 }),
    timeoutMs: timeoutMs === undefined ? null : runTimeMs(timeoutMs),
    tx,
  }
}
