import { setTimeout as sleep } from 'node:timers/promises'
import { unlessAborted } from '../deadline.js'
import type { Bugle } from '../index.js'
import { type Queues, queue, type WakeJob } from './protocol.js'

/** All in milliseconds, in the order of measuring. */
export interface Latencies {
  /** From just before `put()` was called until the handler started, in another process. */
  readonly putToStart: readonly number[]
  /** A bare insert into a plain table, from just before to its answer. */
  readonly bareInsert: readonly number[]
}

interface LatencyParts {
  readonly bugle: Bugle<Queues>
  readonly insertPlain: (queue: string, payload: string) => Promise<void>
  readonly random: () => number
  readonly signal: AbortSignal
}

/** What is measured, and how often before it counts: the first ones also open connections and warm up the code. */
export const rounds = { measured: 200, before: 10 } as const

// Long enough to settle the job and fall asleep again (some 3 ms), and no regular beat.
const pauseMs = { least: 10, most: 40 } as const
/** Beyond the sweep that would find a job whose notification was lost. */
const lostMs = 60_000

interface LatencySeries {
  /** A worker's handler has started. */
  woken(number: number, afterNs: bigint): void
  /** Put jobs one by one, with a bare insert before each, and a pause before either. */
  measure(): Promise<Latencies>
  /** The ids of all jobs that were put, with how often each was started. */
  starts(): ReadonlyMap<string, number>
}

/**
 * The put-to-start latency of single jobs.
 *
 * Both clocks are CLOCK_MONOTONIC, one for all processes of a machine.
 */
export function createLatencySeries({ bugle, insertPlain, random, signal }: LatencyParts): LatencySeries {
  const ids = new Map<number, string>()
  const startsByNumber = new Map<number, number>()
  let awaited: { number: number; resolve: (afterNs: bigint) => void } | null = null

  async function timedPut(number: number): Promise<number> {
    const started = new Promise<bigint>((resolve) => {
      awaited = { number, resolve }
    })
    const putAtNs = process.hrtime.bigint()
    const id = await bugle.put(queue, wakeJob(number, putAtNs))
    ids.set(number, id)
    return toMs(await unlessAborted(orLost(started, id), signal))
  }

  async function timedInsert(number: number): Promise<number> {
    const from = process.hrtime.bigint()
    await insertPlain(queue, JSON.stringify(wakeJob(number, from)))
    return toMs(process.hrtime.bigint() - from)
  }

  async function pause(): Promise<void> {
    await sleep(pauseMs.least + random() * (pauseMs.most - pauseMs.least), undefined, { signal })
  }

  return {
    woken(number, afterNs) {
      startsByNumber.set(number, (startsByNumber.get(number) ?? 0) + 1)
      if (awaited?.number === number) awaited.resolve(afterNs)
    },
    async measure() {
      const putToStart: number[] = []
      const bareInsert: number[] = []
      for (let number = 1; number <= rounds.before + rounds.measured; number += 1) {
        await pause()
        const insertMs = await timedInsert(number)
        await pause()
        const startMs = await timedPut(number)
        if (number <= rounds.before) continue
        bareInsert.push(insertMs)
        putToStart.push(startMs)
      }
      return { putToStart, bareInsert }
    },
    starts: () => new Map([...ids].map(([number, id]) => [id, startsByNumber.get(number) ?? 0])),
  }
}

function wakeJob(number: number, putAtNs: bigint): WakeJob {
  return { type: 'wake', number, putAtNs: String(putAtNs) }
}

async function orLost<T>(started: Promise<T>, id: string): Promise<T> {
  const found = new AbortController()
  const lost = sleep(lostMs, undefined, { signal: found.signal }).then(
    () => Promise.reject(new Error(`job ${id} was put ${lostMs / 1000} s ago and has not started`)),
    () => started,
  )
  try {
    return await Promise.race([started, lost])
  } finally {
    found.abort()
  }
}

function toMs(ns: bigint): number {
  return Number(ns) / 1e6
}

/** The nearest-rank percentile; NaN of nothing. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)] ?? Number.NaN
}
