import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { onTestFinished } from 'vitest'
import type { StopReport } from '../../src/index.js'
import type { TestDatabase } from './database.js'

/** A process that consumes, see consumer-process.mjs. Each method resolves when it has been done there. */
export interface ConsumerProcess {
  readonly pid: number
  /** Resolves when a handler has begun; handlers are held until `go`. */
  readonly held: Promise<void>
  go(): void
  idle(): Promise<void>
  /** Resolves with the report, and when the process has ended. */
  stop(): Promise<StopReport>
}

/** The table in which such processes record their runs. */
export async function createRuns(db: TestDatabase): Promise<void> {
  await db.sql.unsafe(`create table ${db.s}.run (job bigint not null, pid int not null)`)
}

/** @returns when it consumes */
export async function startConsumerProcess(
  db: TestDatabase,
  options: { queue: string; concurrency: number },
): Promise<ConsumerProcess> {
  const { connectionString, schema } = db
  const child = fork(new URL('./consumer-process.mjs', import.meta.url), [
    JSON.stringify({ connectionString, schema, ...options }),
  ])
  onTestFinished(() => {
    child.kill('SIGKILL')
  })
  const exited = once(child, 'exit')
  const held = told(child, 'hold').then(() => {})
  // A test that fails before it waits for it has said why already.
  held.catch(() => {})
  await told(child, 'consume')
  return {
    pid: child.pid ?? 0,
    held,
    go: () => void child.send('go'),
    async idle() {
      child.send('idle')
      await told(child, 'idle')
    },
    async stop() {
      child.send('stop')
      const { report } = await told(child, 'stop')
      await exited
      return report as StopReport
    },
  }
}

interface Message {
  readonly did: string
  readonly report?: StopReport
}

function told(child: ChildProcess, did: string): Promise<Message> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null): void => reject(new Error(`the process ended with ${code} before '${did}'`))
    const onMessage = (message: unknown): void => {
      if ((message as Message).did !== did) return
      child.off('exit', onExit)
      child.off('message', onMessage)
      resolve(message as Message)
    }
    child.once('exit', onExit)
    child.on('message', onMessage)
  })
}
