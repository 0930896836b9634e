/**
 * `bugle/embedded`: a real PostgreSQL for demos and tests, without anything installed on the system.
 *
 * The server runs under a supervisor of its own (`supervisor.ts`) and goes away with our process, however that ends.
 *
 * @module bugle/embedded
 */
import '../demand-node.js'
import type { EmbeddedOptions } from './options.js'
import { type EmbeddedPostgres, startServer } from './start.js'

export type { EmbeddedOptions } from './options.js'
export type { ShutdownMode } from './protocol.js'
export type { EmbeddedPostgres } from './start.js'

/**
 * Start a PostgreSQL server on 127.0.0.1, ready for connections.
 *
 * It ends with `stop()`, or with our process, also by SIGKILL. It does not keep our process alive. What a supervisor
 * that was itself killed has left behind is tidied up by the next start. As root the server runs as the user `postgres`
 * or else `nobody`.
 *
 * There is no password: everybody who can connect to the loopback of this machine is its superuser, and can run
 * programs as the server's user. Meant for development and tests, not for a machine that is shared with people you do
 * not trust.
 *
 * Encoding UTF-8, locale C, time zone UTC, whatever the environment says.
 *
 * @throws BugleError `INVALID_OPTION` for options, a missing package, a directory that cannot be used, a port that is
 *   taken: the message says what to do. `DATABASE_DOWN` when the server does not start, with the last lines of its log.
 */
export async function startEmbedded(options: EmbeddedOptions = {}): Promise<EmbeddedPostgres> {
  return startServer(options)
}
