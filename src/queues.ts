/** Types only: which payloads the queues of an instance have, for those who put and for those who handle. */
import type { Job, JobHandler } from './job.js'
import type { PutOptions, PutOptionsOf } from './put/options.js'
import type { InputOf, OutputOf, StandardSchema } from './schema.js'

/** Queue names and the payloads of their jobs: `createBugle<{ emails: { to: string } }>()`. */
export type QueueMap = Record<string, unknown>

/** The names of an instance's queues. */
export type QueueName<Queues extends object> = keyof Queues & string

declare const byKind: unique symbol
declare const checked: unique symbol

/**
 * A queue of several kinds of jobs: `createBugle<{ media: Kinds<{ thumb: { file: string }; probe: { url: string } }>
 * }>()`. Its puts name the kind, its consumers take a handler for each.
 */
export interface Kinds<Payloads extends Record<string, unknown>> {
  readonly [byKind]: Payloads
}

/** A payload that a schema checks, and may change: what is put, and what a handler is given. */
export interface Checked<Put, Handled> {
  readonly [checked]: readonly [put: Put, handled: Handled]
}

/** Of `any`, not of a union: a payload may be either, and must not be taken apart. */
type IsAny<T> = 0 extends 1 & T ? true : false

type PutPayload<Entry> = Entry extends Checked<infer Put, unknown> ? Put : Entry
type HandledPayload<Entry> = Entry extends Checked<infer _, infer Handled> ? Handled : Entry

/** What follows the queue's name in `put`. */
export type PutArguments<Entry> = [IsAny<Entry>, Entry] extends [false, Kinds<infer Payloads>]
  ? {
      [Kind in keyof Payloads & string]: [
        payload: PutPayload<Payloads[Kind]>,
        options: PutOptions & { readonly kind: Kind },
      ]
    }[keyof Payloads & string]
  : [payload: PutPayload<Entry>, options?: PutOptions]

/** What follows the queue's name in `putMany`. */
export type PutManyArguments<Entry> = [IsAny<Entry>, Entry] extends [false, Kinds<infer Payloads>]
  ? {
      [Kind in keyof Payloads & string]:
        | [payloads: readonly PutPayload<Payloads[Kind]>[], options: PutOptions & { readonly kind: Kind }]
        | [
            payloads: readonly PutPayload<Payloads[keyof Payloads & string]>[],
            options: PutOptionsOf<
              PutPayload<Payloads[keyof Payloads & string]>,
              PutOptions & { readonly kind: keyof Payloads & string }
            >,
          ]
    }[keyof Payloads & string]
  : [payloads: readonly PutPayload<Entry>[], options?: PutOptions | PutOptionsOf<PutPayload<Entry>>]

/** A queue's job as its handlers see it; of a queue of kinds, a union that `job.kind` tells apart. */
export type JobOf<Entry> = [IsAny<Entry>, Entry] extends [false, Kinds<infer Payloads>]
  ? { [Kind in keyof Payloads & string]: Job<HandledPayload<Payloads[Kind]>, Kind> }[keyof Payloads & string]
  : Job<HandledPayload<Entry>>

/** What `consume` runs: a function for every job of the queue, or one for each kind. */
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
      : { readonly [kind: string]: JobHandler<Job<HandledPayload<Entry>, string>, Owner, Context> })

/** A schema for each queue, or for each kind of one. */
export type QueueSchemas = { readonly [queue: string]: StandardSchema | { readonly [kind: string]: StandardSchema } }

/** The queues that schemas describe. */
export type QueuesOf<Schemas> = { [Queue in keyof Schemas & string]: EntryOf<Schemas[Queue]> }

type EntryOf<Entry> = Entry extends StandardSchema
  ? CheckedBy<Entry>
  : Kinds<{ [Kind in keyof Entry & string]: CheckedBy<Entry[Kind]> }>

type CheckedBy<Schema> = Schema extends StandardSchema ? Checked<InputOf<Schema>, OutputOf<Schema>> : never
