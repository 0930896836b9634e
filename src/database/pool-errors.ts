/** What beside PostgreSQL's own errors and NotSentError (verdict.ts) a pool says of a statement that has no answer. */

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
