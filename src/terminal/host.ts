import type { Readable } from 'node:stream'

/**
 * What a command has of its process: `process` itself, or in a test an object like it.
 *
 * `bugle work` and `bugle demo` use more of the process than this: a user's module has all of it, and worker processes
 * do the demo's work.
 */
export interface Host {
  /** The command's arguments begin at the third, as in `process.argv`. */
  readonly argv: readonly string[]
  readonly env: NodeJS.ProcessEnv
  readonly stdin: Readable
  readonly stdout: NodeJS.WriteStream
  readonly stderr: NodeJS.WriteStream
  exitCode?: number | string | null | undefined
  /** Hear a signal, which ends the process no more by itself. */
  on(signal: NodeJS.Signals, heard: () => void): unknown
  /** End at once. @param code - default: `exitCode` */
  exit(code?: number): void
}
