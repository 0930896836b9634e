import { fork } from 'node:child_process'
import { once } from 'node:events'
import { onTestFinished } from 'vitest'
import type { BugleOptions, ConsumeOptions, StopReport } from '../../src/index.js'
import type { TestDatabase } from './database.js'

export interface StopProcessOptions {
  readonly queue: string
  readonly handler: 'timer' | 'promise' | 'busy' | 'stubborn' | 'swallow' | 'never' | 'quick'
  /** For handlers that take time. */
  readonly ms?: number
  readonly bugle?: BugleOptions
  readonly consume?: ConsumeOptions
  readonly former?: boolean
  readonly stays?: boolean
  /** A further queue, consumed once the first is. */
  readonly also?: string
  readonly close?: { readonly graceMs: number; readonly abortMs: number }
}

/** What such a process tells, see stop-process.mjs. */
export interface Told {
  readonly did: 'consume' | 'begin' | 'abort' | 'event' | 'stopped' | 'closed' | 'end'
  readonly id?: string
  readonly attempt?: number
  readonly code?: string
  readonly name?: string
  readonly data?: Readonly<Record<string, unknown>>
  readonly report?: StopReport
  /** How many listeners SIGINT and SIGTERM have. */
  readonly listeners?: readonly number[]
  readonly before?: readonly number[]
  readonly after?: readonly number[]
  readonly sameFormer?: boolean
  readonly formerCalls?: number
}

export interface StopProcess {
  readonly pid: number
  /** All that it has told, in order. */
  readonly told: readonly Told[]
  /** The next one of that kind that was not returned yet; of events, by name. */
  next(what: Exclude<Told['did'], 'event'> | `${string}:${string}`): Promise<Told>
  kill(signal: NodeJS.Signals): void
  readonly exited: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>
}

/** @returns at once; it consumes when it has told 'consume' */
export function startStopProcess(db: TestDatabase, options: StopProcessOptions): StopProcess {
  const { connectionString, schema } = db
  const child = fork(new URL('./stop-process.mjs', import.meta.url), [
    JSON.stringify({ connectionString, schema, ...options }),
  ])
  onTestFinished(() => {
    child.kill('SIGKILL')
  })
  const told: Told[] = []
  const returned = new Set<Told>()
  let tellNew = (): void => {}
  let news = new Promise<void>((resolve) => {
    tellNew = resolve
  })
  let isGone = false
  const renew = (): void => {
    tellNew()
    news = new Promise((resolve) => {
      tellNew = resolve
    })
  }
  child.on('message', (message) => {
    told.push(message as Told)
    renew()
  })
  const exited = once(child, 'exit').then(([code, signal]) => ({ code, signal }))
  // 'close': after its last message.
  child.on('close', () => {
    isGone = true
    renew()
  })
  return {
    pid: child.pid ?? 0,
    told,
    async next(what) {
      for (;;) {
        const found = told.find((one) => !returned.has(one) && (one.did === 'event' ? one.name : one.did) === what)
        if (found) {
          returned.add(found)
          return found
        }
        if (isGone) throw new Error(`the process ended before '${what}'; it told ${JSON.stringify(told)}`)
        await news
      }
    },
    kill: (signal) => void child.kill(signal),
    exited,
  }
}
