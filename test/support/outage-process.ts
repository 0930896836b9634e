import { fork } from 'node:child_process'
import { once } from 'node:events'
import { onTestFinished } from 'vitest'
import type { BugleEventName, StopReport } from '../../src/index.js'
import { signal } from './signal.js'

/** A process that consumes through outages, see outage-process.mjs. */
export interface OutageProcess {
  /** What it was told by events, in their order. */
  readonly events: { readonly name: BugleEventName; readonly data: { readonly id?: string } }[]
  /** Resolves with the report, when the process has ended; rejects if it did not end by itself and well. */
  stop(): Promise<StopReport>
}

export interface OutageProcessOptions {
  readonly connectionString: string
  readonly schema: string
  readonly queue: string
  readonly concurrency: number
  readonly rescueAfterMs: number
}

/** @returns when it consumes */
export async function startOutageProcess(
  options: OutageProcessOptions,
  onEvent: (name: BugleEventName) => void,
): Promise<OutageProcess> {
  const child = fork(new URL('./outage-process.mjs', import.meta.url), [JSON.stringify(options)])
  onTestFinished(() => {
    child.kill('SIGKILL')
  })
  const events: OutageProcess['events'] = []
  const consuming = signal()
  const stopped = signal<StopReport>()
  child.on('message', (message: { did: string; name: BugleEventName; data: { id: string }; report: StopReport }) => {
    if (message.did === 'consume') consuming.resolve()
    if (message.did === 'stop') stopped.resolve(message.report)
    if (message.did !== 'event') return
    events.push({ name: message.name, data: message.data })
    onEvent(message.name)
  })
  const exited = once(child, 'exit').then(([code, killedBy]) => {
    const error = new Error(`the process ended with ${code ?? killedBy}`)
    consuming.reject(error)
    stopped.reject(error)
    return code
  })
  // One that ends too early is told where it is waited for.
  stopped.promise.catch(() => {})
  await consuming.promise
  return {
    events,
    async stop() {
      child.send('stop')
      const report = await stopped.promise
      const code = await exited
      if (code !== 0) throw new Error(`the process ended with ${code}`)
      return report
    },
  }
}
