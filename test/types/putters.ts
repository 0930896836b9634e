/**
 * Checked by `tsc -p test/tsconfig.json`, never run: which instances a function takes that only puts; and what must not
 * compile.
 */
import * as z from 'zod'
import { type Bugle, createBugle, defineQueues, type Kinds, type Putter, type WithCodec } from '../../src/index.js'

type Queues = {
  emails: { to: string; cc?: string[] }
  counts: number
  media: Kinds<{ thumb: { file: string }; probe: { url: string } }>
}

type Emails = { emails: { to: string } }

async function welcome(bugle: Putter<Emails>): Promise<string> {
  // @ts-expect-error it needs no such queue
  await bugle.put('counts', 5)
  // @ts-expect-error and only puts
  await bugle.consume('emails', () => {})
  await bugle.putMany('emails', [{ to: 'a@example.org' }], { priority: 1 })
  return bugle.put('emails', { to: 'a@example.org' }, { delayMs: 5 })
}

export async function whoPuts(bugle: Bugle<Queues, { log: string[] }>, putter: Putter<Queues>): Promise<void> {
  // More queues, and whatever context.
  await welcome(bugle)
  await welcome(putter)
  await welcome(createBugle())
  await welcome(createBugle({ schemas: { emails: z.object({ to: z.string() }), others: z.number() } }))
  await welcome(createBugle({ queues: defineQueues<Queues>(), codec: JSON_CODEC }))
  // Also where it is given by a handler.
  await bugle.consume('counts', (_job, ctx) => welcome(ctx.bugle))
  // And what stands for one in a test.
  await welcome({ put: async () => '1', putMany: async () => ['1'] })

  const thumbs: Putter<{ media: Kinds<{ thumb: { file: string } }> }> = bugle
  await thumbs.put('media', { file: 'a.png' }, { kind: 'thumb' })
  // @ts-expect-error it has promised no such kind
  await thumbs.put('media', { url: 'a.png' }, { kind: 'probe' })
}
declare const JSON_CODEC: { encode(value: unknown): unknown; decode(stored: unknown): unknown }

export function variance(
  big: Putter<Queues>,
  small: Putter<Emails>,
  strict: Putter<{ emails: { to: string; subject: string } }>,
  any: Putter,
): void {
  const fewer: Putter<Emails> = big
  const none: Putter<Record<never, never>> = small
  // One that takes less can be told more.
  const more: Putter<{ emails: { to: string; subject: string } }> = small
  const every: Putter<Emails> = any
  // @ts-expect-error it knows fewer queues
  const queues: Putter<Queues> = small
  // @ts-expect-error it needs a subject
  const subject: Putter<Emails> = strict
  // @ts-expect-error it takes another payload
  const other: Putter<{ counts: string }> = big
  // @ts-expect-error it knows no such kind
  const kinds: Putter<{ media: Kinds<{ crop: { file: string } }> }> = big
  // @ts-expect-error it does not take whatever comes
  const whatever: Putter = small
  void [fewer, none, more, every, queues, subject, other, kinds, whatever]
}

export function instances(bugle: Bugle<Queues>, coded: Bugle<WithCodec<Queues>>): void {
  // @ts-expect-error another instance's queues: its handlers would be given other payloads
  const other: Bugle<{ emails: { to: number } }> = bugle
  // @ts-expect-error it knows no such queue
  const more: Bugle<Queues & { ticks: null }> = bugle
  const putter: Putter<Queues> = coded
  void [other, more, putter]
}

/** Who forwards a kind need not know which. */
export async function forward<Kind extends 'thumb' | 'probe'>(
  bugle: Putter<Queues>,
  kind: Kind,
  payload: { thumb: { file: string }; probe: { url: string } }[Kind],
): Promise<string> {
  return bugle.put('media', payload, { kind })
}
