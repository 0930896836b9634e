import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { signal } from './database.js'

/** Operating-system processes that consume one queue. */
export interface Fleet {
  /** Put-to-start times in milliseconds, by job id; a job that ran twice is there twice. */
  readonly runs: { readonly id: string; readonly latencyMs: number }[]
  /** Claims that were answered, and how many of them found nothing. */
  readonly claims: { all: number; empty: number }
  /** Resolves when as many runs were told. */
  ran(count: number): Promise<void>
  end(): Promise<void>
}

export interface FleetOptions {
  readonly connectionString: string
  readonly schema: string
  readonly queue: string
  readonly processes: number
  readonly handlerMs: number
  readonly slots: number
}

/** Start them, and wait until each has seen the queue empty. */
export async function startFleet(options: FleetOptions): Promise<Fleet> {
  const { connectionString, schema, queue, processes, handlerMs, slots } = options
  const script = fileURLToPath(new URL('./fleet-process.mjs', import.meta.url))
  const runs: { id: string; latencyMs: number }[] = []
  const claims = { all: 0, empty: 0 }
  let wanted = Number.POSITIVE_INFINITY
  let enough = (): void => {}

  async function start(): Promise<ChildProcessWithoutNullStreams> {
    const ready = signal()
    const args = [script, connectionString, schema, queue, String(handlerMs), String(slots)]
    const child = spawn(process.execPath, args, {
      env: { ...process.env, DEBUG: 'bugle:dispatcher', DEBUG_COLORS: 'no' },
    })
    createInterface(child.stderr).on('line', (line) => {
      const claimed = /claimed (\d+) of/.exec(line)
      if (claimed === null) return
      claims.all += 1
      if (claimed[1] === '0') claims.empty += 1
    })
    createInterface(child.stdout).on('line', (line) => {
      const message: { ready?: true; id: string; latencyMs: number } = JSON.parse(line)
      if (message.ready) return ready.resolve()
      runs.push(message)
      if (runs.length >= wanted) enough()
    })
    child.once('exit', (code) => ready.reject(new Error(`a process of the fleet ended with ${code}`)))
    await ready.promise
    return child
  }

  const children = await Promise.all(Array.from({ length: processes }, start))
  claims.all = 0
  claims.empty = 0
  return {
    runs,
    claims,
    async ran(count) {
      const done = signal()
      enough = done.resolve
      wanted = count
      if (runs.length >= count) done.resolve()
      await done.promise
    },
    async end() {
      await Promise.all(
        children.map(async (child) => {
          const exit = once(child, 'exit')
          child.stdin.end()
          await exit
        }),
      )
    },
  }
}

/** Single inserts at a steady rate, each by its own statement; the payload tells when it was sent. */
export async function insertSteadily(
  insert: (at: string) => Promise<unknown>,
  perSecond: number,
  count: number,
): Promise<void> {
  const startedAt = performance.now()
  const sent: Promise<unknown>[] = []
  while (sent.length < count) {
    const due = Math.min(count, Math.floor(((performance.now() - startedAt) * perSecond) / 1_000) + 1)
    while (sent.length < due) sent.push(insert(process.hrtime.bigint().toString()))
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  await Promise.all(sent)
}

export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}
