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
  readonly delayMs?: Duration | undefined
  /** At most one waiting job per queue and key: short for `unique: { key }`. */
  readonly key?: string | undefined
  /** At most one job per queue and key, for as long as this says. Instead of `key`. */
  readonly unique?: Unique | undefined
  /**
   * What a put does if a job has its key. 'keep': that job stays as it is, and its id is the answer; 'replace': if that
   * job waits, it becomes what is put, with all its attempts, under its id, and otherwise it is KEY_TAKEN; 'reject':
   * KEY_TAKEN. @defaultValue 'keep'
   */
  readonly keyMode?: 'keep' | 'replace' | 'reject' | undefined
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

/**
 * For how long a job has its key. Each job says so for itself: puts of one key should all say the same.
 *
 * A failed job has none; one that is requeued while another has its key goes back without it, or, with 'running', stays
 * failed.
 */
export interface Unique {
  /** 1 to 255 characters. */
  readonly key: string
  /**
   * 'waiting': until it begins to run, so a put during its run is another run; 'running': until it is over, retries
   * included, so two never run at once. @defaultValue 'waiting'
   */
  readonly while?: 'waiting' | 'running' | undefined
  /**
   * And for at least so long from its put, by the database's clock, whatever becomes of it; at most a hundred years.
   * Default: no longer than `while` says.
   */
  readonly forMs?: Duration | undefined
}

export const putDefaults = { priority: 0, keyMode: 'keep', flags: [] } as const satisfies Partial<PutOptions>
const uniqueDefaults = { while: 'waiting' } as const satisfies Partial<Unique>

export interface ResolvedPutOptions {
  readonly priority: number
  readonly kind: string | null
  /** In ms since 1970. */
  readonly runAt: number | null
  readonly delayMs: number | null
  readonly key: string | null
  readonly keyMode: 'keep' | 'replace' | 'reject'
  readonly keyWhile: 'waiting' | 'running'
  readonly keyForMs: number | null
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
  keyWhile: uniqueDefaults.while,
  keyForMs: null,
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
  'unique',
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
  const { priority = putDefaults.priority, kind, runAt, delayMs, keyMode, flags, maxAttempts, timeoutMs, tx } = options
  if (tx === undefined && Object.hasOwn(options, 'tx')) {
    // The name of something else, misspelt: the job would be written outside of the transaction.
    throw new BugleError('INVALID_OPTION', 'put options: tx is undefined; give a transaction, or leave tx out')
  }
  if (runAt !== undefined && delayMs !== undefined) {
    throw new BugleError('INVALID_OPTION', 'put options: give runAt or delayMs, not both')
  }
  const unique = resolveUnique(options)
  if (keyMode !== undefined && unique.key === null) {
    throw new BugleError('INVALID_OPTION', 'put options: keyMode says what to do about a key; give the key as well')
  }
  return {
    priority: wholeNumber('priority', priority, { min: -32_768, max: 32_767 }),
    kind: kind === undefined ? null : label('kind', kind, 128),
    // What was due before 1970 is due.
    runAt: runAt === undefined ? null : Math.max(0, moment('runAt', runAt).getTime()),
    delayMs: delayMs === undefined ? null : delay('delayMs', delayMs),
    ...unique,
    keyMode: oneOf('keyMode', keyMode ?? putDefaults.keyMode, ['keep', 'replace', 'reject']),
    flags: flags === undefined ? putDefaults.flags : flagNames('flags', flags),
    maxAttempts: maxAttempts === undefined ? null : wholeNumber('maxAttempts', maxAttempts, { min: 1, max: 1e9 }),
    timeoutMs: timeoutMs === undefined ? null : runTimeMs(timeoutMs),
    tx,
  }
}

function resolveUnique({ key, unique }: PutOptions): Pick<ResolvedPutOptions, 'key' | 'keyWhile' | 'keyForMs'> {
  if (unique === undefined) {
    const { keyWhile, keyForMs } = plainPut
    return { key: key === undefined ? null : label('key', key, 255), keyWhile, keyForMs }
  }
  if (key !== undefined) throw new BugleError('INVALID_OPTION', 'put options: give key or unique, not both')
  knownKeys('unique', unique, ['key', 'while', 'forMs'])
  const { while: keyWhile = uniqueDefaults.while, forMs } = unique
  return {
    key: label('unique.key', unique.key, 255),
    keyWhile: oneOf('unique.while', keyWhile, ['waiting', 'running']),
    keyForMs: forMs === undefined ? null : delay('unique.forMs', forMs),
  }
}
