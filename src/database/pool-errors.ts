/**
 * What a pool says of a statement that has no answer. There are two kinds, and `databaseFault` knows them by their
 * codes: it was never sent, so nothing is written, whatever the cause; or it was sent, and may have run.
 */

/** No connection has taken it, and none will: the cause says why. */
export class NotSentError extends Error {
  override name = 'NotSentError'
  readonly code = 'NOT_SENT'
  constructor(what: string, cause: Error) {
    super(`${what}: not sent: ${cause.message}`, { cause })
  }
}

/** The connection was lost with it: it may have run. */
export class LostError extends Error {
  override name = 'LostError'
  readonly code = 'CONNECTION_CLOSED'
  override readonly cause: Error
  constructor(cause: Error) {
    super(`the connection was lost before the answer: ${cause.message}`)
    this.cause = cause
  }
}

/** A server did not answer while a connection to it was being opened. */
export class ConnectTimeoutError extends Error {
  override name = 'ConnectTimeoutError'
  readonly code = 'CONNECT_TIMEOUT'
}
