import { format } from 'node:util'
import createDebug from 'debug'
import { onTestFinished } from 'vitest'

/** What a part of Bugle logs in this process from now on until the test's end, as with DEBUG=bugle:dispatcher. */
export function debugLines(namespace: string): string[] {
  const lines: string[] = []
  const { log } = createDebug
  createDebug.enable(namespace)
  createDebug.log = (...args: unknown[]) => lines.push(format(...args))
  onTestFinished(() => {
    createDebug.disable()
    createDebug.log = log
  })
  return lines
}
