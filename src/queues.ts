/** Types only: which payloads the queues of an instance have, for those who put and for those who handle. */
import type { Codec } from './codec.js'
import type { Job, JobHandler } from './job.js'
import type { IsAny, JsonInput, Jsonify } from './jsonify.js'
import type { PutOptions, PutOptionsOf } from './put/options.js'
import type { InputOf, OutputOf, StandardSchema } from './schema.js'

/** Queue names and the payloads of their jobs: `createBugle<{ emails: { to: string } }>()`. */
export type QueueMap = Record<string, unknown>

/** The names of an instance's queues. Where a message shall list them, write `keyof Queues & string` itself. */
export type QueueName<Queues extends object> = keyof Queues & string

declare const byKind: unique symbol
declare const checked: unique symbol

/**
 * A queue of several kinds of jobs: `createBugle<{ media: Kinds<{ thumb: { file: string }; probe: { url: string } }>
 * }>()`. Its puts name the kind, its consumers take a handler for each.
 */
export interface Kinds<Payloads extends object> {
  readonly [byKind]: Payloads
}

/**
 * A payload of three types: what is put, what a handler is given, and what `job()` reads. A schema or a codec makes
 * such entries. An entry that is none is put as it is, and is handled and read as what JSON makes of it (`Jsonify`).
 */
export interface Checked<Put, Handled, Stored = Jsonify<Put>> {
  readonly [checked]: readonly [put: Put, handled: Handled, stored: Stored]
}

/**
 * The queues of an instance with a codec, which brings back what was put: `createBugle({ queues:
 * defineQueues<Queues>(), codec })` is a `Bugle<WithCodec<Queues>>`.
 */
export type WithCodec<Queues extends object> = { [Queue in keyof Queues & string]: CodedEntry<Queues[Queue]> }

type CodedEntry<Entry> = [IsAny<Entry>, Entry] extends [false, Kinds<infer Payloads>]
  ? Kinds<{ [Kind in keyof Payloads & string]: Coded<Payloads[Kind]> }>
  : Coded<Entry>

type Coded<Payload> = unknown extends Payload
  ? Payload
  : [Payload] extends [Checked<infer Put, infer Handled, unknown>]
    ? Checked<Put, Handled, Put>
    : Checked<Payload, Payload, Payload>

type PutPayload<Payload> = [IsAny<Payload>, Payload] extends [false, Checked<infer Put, unknown, unknown>]
  ? Put
  : JsonInput<Payload>

type HandledPayload<Payload> = [IsAny<Payload>, Payload] extends [false, Checked<unknown, infer Handled, unknown>]
  ? Handled
  : Jsonify<Payload>

type StoredPayload<Payload> = [IsAny<Payload>, Payload] extends [false, Checked<unknown, unknown, infer Stored>]
  ? Stored
  : Jsonify<Payload>

/** The kinds of a queue; any name where it is not a queue of kinds. */
export type KindOf<Entry> = [IsAny<Entry>, Entry] extends [false, Kinds<infer Payloads>]
  ? keyof Payloads & string
  : string

/** What is put into a queue, as a job of that kind. */
export type PayloadToPut<Entry, Kind> = [IsAny<Entry>, Entry] extends [false, Kinds<infer Payloads>]
  ? { [Each in keyof Payloads & string]: PutPayload<Payloads[Each]> }[Kind & keyof Payloads & string]
  : PutPayload<Entry>

/** What operators read of such a job. */
export type PayloadStored<Entry, Kind> = [IsAny<Entry>, Entry] extends [false, Kinds<infer Payloads>]
  ? { [Each in keyof Payloads & string]: StoredPayload<Payloads[Each]> }[Kind & keyof Payloads & string]
  : StoredPayload<Entry>

/** What follows the payload in `put`: a queue of kinds must be told which. */
export type PutArguments<Entry, Kind> = [IsAny<Entry>, Entry] extends [false, Kinds<object>]
  ? [options: PutOptions & { readonly kind: Kind }]
  : [options?: PutOptions | undefined]

/** What follows the payloads in `putMany`. */
export type PutManyArguments<Entry, Kind> = [IsAny<Entry>, Entry] extends [false, Kinds<object>]
  ? [
      options:
        | (PutOptions & { readonly kind: Kind })
        | PutOptionsOf<PayloadToPut<Entry, Kind>, PutOptions & { readonly kind: Kind }>,
    ]
  : [options?: PutOptions | PutOptionsOf<PayloadToPut<Entry, Kind>> | undefined]

/** A queue's job as its handlers see it; of a queue of kinds, a union that `job.kind` tells apart. */
export type JobOf<Entry> = [IsAny<Entry>, Entry] extends [false, Kinds<infer Payloads>]
  ? { [Kind in keyof Payloads & string]: Job<HandledPayload<Payloads[Kind]>, Kind> }[keyof Payloads & string]
  : Job<HandledPayload<Entry>>

/**
 * What `consume` runs: a function for every job of the queue, or for a queue of kinds one for each. A queue of which
 * nothing is known takes either.
 */
export type HandlersOf<Entry, Owner, Context> =
  | JobHandler<JobOf<Entry>, Owner, Context>
  | ([IsAny<Entry>, Entry] extends [false, Kinds<infer Payloads>]
      ? {
          readonly [Kind in keyof Payloads & string]?: JobHandler<
            Job<HandledPayload<Payloads[Kind]>, Kind>,
            Owner,
            Context
          >
        }
      : unknown extends Entry
        ? { readonly [kind: string]: JobHandler<Job<Entry, string>, Owner, Context> }
        : never)

/** A schema for each queue, or for each kind of one. */
export type QueueSchemas = { readonly [queue: string]: StandardSchema | { readonly [kind: string]: StandardSchema } }

/** The queues that schemas describe. */
export type QueuesOf<Schemas> = { [Queue in keyof Schemas & string]: EntryOf<Schemas[Queue]> }

/** The queues of an instance, by the types and options that it was made of. */
export type QueuesBy<Queues extends object, OwnCodec, Schemas> = [OwnCodec] extends [Codec]
  ? WithCodec<Described<Queues, Schemas>>
  : Described<Queues, Schemas>

/** Schemas say more of a queue than its type. */
type Described<Queues extends object, Schemas> = string extends keyof Schemas
  ? Queues
  : string extends keyof Queues
    ? QueuesOf<Schemas>
    : Omit<Queues, keyof Schemas> & QueuesOf<Schemas>

type EntryOf<Entry> = Entry extends StandardSchema
  ? CheckedBy<Entry>
  : Kinds<{ [Kind in keyof Entry & string]: CheckedBy<Entry[Kind]> }>

type CheckedBy<Schema> = Schema extends StandardSchema ? Checked<InputOf<Schema>, OutputOf<Schema>> : never
