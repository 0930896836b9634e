/**
 * What our process and the supervisor say to each other: JSON, one message a line.
 *
 * Over the supervisor's stdin: one `Task`, then any number of `Command`s. The end of stdin means: stop the server,
 * tidy up, leave. Over its stdout: one `Ready` or `Failed`, then one `Answer` for each command.
 */
import type { BugleErrorCode } from '../errors.js'

/** How a server is shut down: `smart` waits for clients to leave, `fast` disconnects them, `immediate` is a crash. */
export type ShutdownMode = 'smart' | 'fast' | 'immediate'

/** Where the server's programs are. */
export interface Programs {
  /** Absolute, with `initdb` and `postgres`. */
  binDir: string
  /** Given when they come from an npm package: then we may add library links, or copy the folder. */
  bundled?: { nativeDir: string; name: string; version: string }
}

export type Task =
  /** Run a server until stdin ends. */
  | {
      kind: 'serve'
      programs: Programs
      /** Absolute; without it a temporary directory is made, and removed at the end. */
      dataDir?: string
      /** `name=value`, each one goes to the server behind a `-c`. */
      settings: string[]
      durability: 'on' | 'off'
      startTimeoutMs: number
      /** The first port to try; by default a random one. */
      port?: number
      /** Whether the start fails where that port is taken. */
      isPortDemanded?: boolean
    }
  /** Stop what a supervisor that is gone has left in this home, then leave. */
  | { kind: 'sweep'; home: string; temporary: boolean }

export interface Command {
  id: number
  restart: ShutdownMode
}

export interface Ready {
  ready: {
    pid: number
    port: number
    /** The directory of the cluster itself. */
    dataDir: string
    /** The directory around it, that the supervisor looks after. */
    home: string
    binDir: string
    version: string
  }
}

export interface Failed {
  failed: { code: BugleErrorCode; message: string }
}

export type Answer = { id: number; pid: number } | { id: number; failed: Failed['failed'] }
