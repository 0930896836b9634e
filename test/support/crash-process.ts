import { fork } from 'node:child_process'
import { once } from 'node:events'
import { onTestFinished } from 'vitest'
import type { BugleEventName, BugleEvents, BugleOptions, ConsumeOptions } from '../../src/index.js'
import type { TestDatabase } from './database.js'

/** A process that consumes, see crash-process.mjs. */
export interface CrashProcess {
  readonly pid: number
  readonly workerId: string
  /** Runs that have begun there. */
  readonly runs: { readonly id: string; readonly attempt: number; readonly crashes: number }[]
  /** Resolves when so many have. */
  ran(count: number): Promise<void>
  readonly aborts: { readonly id: string; readonly code: string }[]
  /** The first such event, of the past or to come. */
  event<Name extends BugleEventName>(name: Name): Promise<BugleEvents[Name]>
  events(name: BugleEventName): unknown[]
  go(): void
  /** Resolves when the process has ended; with SIGSTOP and SIGCONT at once. */
  kill(signal: NodeJS.Signals): Promise<void>
  /** Resolves when it has ended by itself. */
  readonly ended: Promise<unknown>
  stop(): Promise<void>
}

interface Message {
  readonly created?: string
  readonly consumes?: boolean
  readonly run?: { id: string; attempt: number; crashes: number }
  readonly aborted?: string
  readonly code?: string
  readonly event?: BugleEventName
  readonly data?: unknown
}

/** @returns when it consumes, or for one that may die before, when it has begun to */
export async function startCrashProcess(
  db: Pick<TestDatabase, 'connectionString' | 'schema'>,
  given: {
    queue?: string
    options?: BugleOptions
    concurrency?: number
    prefetch?: ConsumeOptions['prefetch']
    dies?: boolean
  },
): Promise<CrashProcess> {
  const { connectionString, schema } = db
  const { queue = 'q', options = {}, concurrency = 10, prefetch, dies = false } = given
  const child = fork(new URL('./crash-process.mjs', import.meta.url), [
    JSON.stringify({ connectionString, schema, queue, options, consumeOptions: { concurrency, prefetch } }),
  ])
  onTestFinished(() => {
    child.kill('SIGKILL')
  })
  const ended = once(child, 'exit')
  const messages: Message[] = []
  let look = (): void => {}
  child.on('message', (message) => {
    messages.push(message as Message)
    look()
  })
  /** What is looked for, once it is found. Tests wait for one thing of a process at a time. */
  async function until<T>(find: () => T | undefined): Promise<T> {
    for (;;) {
      const found = find()
      if (found !== undefined) return found
      await new Promise<void>((resolve) => {
        look = resolve
      })
    }
  }
  const runs = () => messages.flatMap(({ run }) => run ?? [])
  const eventsOf = (name: BugleEventName) => messages.filter(({ event }) => event === name).map(({ data }) => data)
  const died = ended.then(([code]) => {
    throw new Error(`the process ended with ${code} before it consumed`)
  })
  died.catch(() => {})
  const workerId = await Promise.race([until(() => messages.find(({ created }) => created)?.created), died])
  if (!dies) await Promise.race([until(() => messages.find(({ consumes }) => consumes)), died])
  return {
    pid: child.pid ?? 0,
    workerId,
    get runs() {
      return runs()
    },
    ran: (count) => until(() => (runs().length >= count ? true : undefined)).then(() => {}),
    get aborts() {
      return messages.flatMap(({ aborted, code }) => (aborted ? { id: aborted, code: code ?? '' } : []))
    },
    event: async <Name extends BugleEventName>(name: Name) =>
      (await until(() => eventsOf(name)[0])) as BugleEvents[Name],
    events: eventsOf,
    go: () => void child.send('go'),
    async kill(signal) {
      child.kill(signal)
      if (signal !== 'SIGSTOP' && signal !== 'SIGCONT') await ended
    },
    ended,
    async stop() {
      child.send('stop')
      await ended
    },
  }
}
