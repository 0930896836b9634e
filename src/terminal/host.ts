import type { Readable } from 'node:stream'

/**
 * The process as a command sees it: `process` itself, or an object like it in a test.
 *
 * Two commands use more of the process than this: `bugle work` runs a user's module, which has all of it, and
 * `bugle demo` starts worker processes.
 */
export interface Host {
  /** The command's arguments begin at the third, as in `process.argv`. */
  readonly argv: readonly string[]
  readonly env: NodeJS.ProcessEnv
  readonly stdin: Readable
  readonly stdout: NodeJS.WriteStream
  readonly stderr: NodeJS.WriteStream
  exitCode?: number | string | null | undefined
  /** Listen to a signal. From then on it does not end the process by itself. */
  on(signal: NodeJS.Signals, heard: () => void): unknown
  /** End the process at once. @param code - default: `exitCode` */
  exit(code?: number): void
}
