/**
 * Checked by `tsc -p test/tsconfig.json`, never run: payloads on their way through JSON, a schema or a codec; and what
 * must not compile.
 */
import * as z from 'zod'
import {
  type Bugle,
  type Checked,
  type Codec,
  createBugle,
  defineQueues,
  type Job,
  type Jsonify,
  type Kinds,
  type WithCodec,
} from '../../src/index.js'
import { type Equal, is } from './equal.js'

interface Tree {
  readonly name: string
  readonly children: readonly Tree[]
}
type Json = string | number | boolean | null | Json[] | { [key: string]: Json }
declare class User {
  readonly name: string
  readonly born: Date
  greet(): string
}
interface Plain {
  readonly to: string
  readonly cc?: string[]
  readonly note: string | undefined
  readonly pair: readonly [string, number]
  readonly by: Record<string, { at: number | null }>
}

export function asItIs(): void {
  is<Equal<Jsonify<Plain>, Plain>>()
  is<Equal<Jsonify<Tree>, Tree>>()
  is<Equal<Jsonify<Json>, Json>>()
  is<Equal<Jsonify<unknown>, unknown>>()
  // biome-ignore lint/suspicious/noExplicitAny: what is shown
  is<Equal<Jsonify<any>, any>>()
  // biome-ignore lint/suspicious/noExplicitAny: what is shown
  is<Equal<Jsonify<{ of: any; by: unknown }>, { of: any; by: unknown }>>()
  is<Equal<Jsonify<string & { readonly brand: 'id' }>, string & { readonly brand: 'id' }>>()
  is<Equal<Jsonify<{ a: 1 } | { b: 'x' } | null>, { a: 1 } | { b: 'x' } | null>>()
  is<Equal<Jsonify<boolean>, boolean>>()
  is<Equal<Jsonify<object>, object>>()
}

export function changed(): void {
  is<Equal<Jsonify<Date>, string>>()
  is<Equal<Jsonify<{ at: Date }>, { at: string }>>()
  is<Equal<Jsonify<{ at?: Date; no: number }>, { at?: string; no: number }>>()
  is<Equal<Jsonify<{ at: Date | null }[]>, { at: string | null }[]>>()
  is<Equal<Jsonify<readonly [Date, 5]>, readonly [string, 5]>>()
  is<Equal<Jsonify<Record<string, URL>>, Record<string, string>>>()
  is<Equal<Jsonify<User>, { readonly name: string; readonly born: string }>>()
  is<Equal<Jsonify<{ toJSON(): { at: Date } }>, { at: string }>>()
  type Refused<What extends string> = `JSON holds no ${What}: put something else, or give createBugle a codec`
  is<Equal<Jsonify<{ tags: Map<string, 1> }>, { tags: Refused<'Map'> }>>()
  is<Equal<Jsonify<{ tags: Set<string>; n: bigint }>, { tags: Refused<'Set'>; n: Refused<'BigInt'> }>>()
  is<
    Equal<Jsonify<{ error: TypeError; bytes: Uint8Array }>, { error: Refused<'Error'>; bytes: Refused<'typed array'> }>
  >()
  is<Equal<Jsonify<() => void>, Refused<'function'>>>()
}

type Queues = {
  reports: { title: string; since: Date }
  users: User
  tags: { all: Map<string, number> }
  media: Kinds<{ thumb: { file: string; at: Date }; probe: { url: string } }>
}

export async function without(bugle: Bugle<Queues>, user: User): Promise<void> {
  await bugle.put('reports', { title: 'a', since: new Date() })
  await bugle.put('users', user)
  await bugle.put('media', { file: 'a.png', at: new Date() }, { kind: 'thumb' })
  await bugle.consume('reports', ({ payload }) => {
    is<Equal<typeof payload, { title: string; since: string }>>()
    // @ts-expect-error a Date has become a string
    payload.since.getTime()
  })
  await bugle.consume('media', {
    thumb: (job) => is<Equal<typeof job, Job<{ file: string; at: string }, 'thumb'>>>(),
    probe: (job) => is<Equal<typeof job, Job<{ url: string }, 'probe'>>>(),
  })
  await bugle.consume('users', (_, ctx) => ctx.bugle.put('reports', { title: 'b', since: new Date() }), {
    onFailed: (job) => is<Equal<typeof job.payload, { readonly name: string; readonly born: string }>>(),
    retryStrategy: (job) => (job.payload.born.length > 5 ? false : { delayMs: 5 }),
  })
  // @ts-expect-error what the put refuses, the compiler refuses
  await bugle.put('tags', { all: new Map() })
  // @ts-expect-error the same of many
  await bugle.putMany('tags', [{ all: new Map() }])
}

declare const codec: Codec

export async function withCodec(): Promise<void> {
  const bugle = createBugle({ queues: defineQueues<Queues>(), codec })
  is<Equal<typeof bugle, Bugle<WithCodec<Queues>>>>()
  await bugle.put('tags', { all: new Map() })
  await bugle.put('media', { file: 'a.png', at: new Date() }, { kind: 'thumb' })
  await bugle.consume('reports', ({ payload }) => is<Equal<typeof payload, Queues['reports']>>())
  await bugle.consume('tags', ({ payload }) => payload.all.get('a'))
  await bugle.consume('media', { thumb: ({ payload }) => payload.at.getTime() })
  await bugle.jobs({ queue: 'tags' }).then(({ jobs }) => jobs[0]?.payload.all.size)
  // @ts-expect-error another payload
  await bugle.put('tags', { all: new Set() })
  // @ts-expect-error beside queues that are written out nothing is inferred
  createBugle<Queues>({ codec })
  const written = createBugle<WithCodec<Queues>, unknown, Codec>({ codec })
  written.on('job:acked', ({ queue }) => is<Equal<typeof queue, keyof Queues>>())
  const untyped = createBugle({ codec })
  await untyped.consume('anything', ({ payload }) => is<Equal<typeof payload, unknown>>())
}

export async function withSchemas(): Promise<void> {
  const schemas = { reports: z.object({ since: z.date() }), counts: z.coerce.number<string>() }
  const bugle = createBugle({ schemas, codec })
  await bugle.put('reports', { since: new Date() })
  await bugle.consume('reports', ({ payload }) => payload.since.getTime())
  await bugle.put('counts', '5')
  await bugle.consume('counts', ({ payload }) => payload.toFixed())
  const { jobs } = await bugle.jobs({ queue: 'reports' })
  is<Equal<(typeof jobs)[number]['payload'], { since: Date }>>()
  const plain = await createBugle({ schemas }).jobs({ queue: 'reports' })
  is<Equal<(typeof plain.jobs)[number]['payload'], { since: string }>>()
  // Written by hand: what is put, what is handled.
  const own = createBugle<{ counts: Checked<string, number> }>()
  await own.consume('counts', ({ payload }) => payload.toFixed())
}
