/**
 * Bugle: a push-driven job consumer for PostgreSQL.
 *
 * @packageDocumentation
 */
export { type Bugle, createBugle, type QueueMap } from './bugle.js'
export type { Consumer } from './consume/consumer.js'
export type { StopReport } from './consume/report.js'
export type { Handler, Job, JobContext } from './consume/runner.js'
export type { ConnectionFields } from './database/connection.js'
export type { MigrationReport } from './database/migrate.js'
export { BugleError, type BugleErrorCode } from './errors.js'
export type {
  BugleEventName,
  BugleEvents,
  BugleListener,
  CallbackPlace,
  FailureCause,
  JobEvent,
  ListenerHealth,
} from './events.js'
export type { BugleOptions, ConsumeOptions, PutOptions } from './options.js'
export {
  type AckOutcome,
  ack,
  type ErrorOutcome,
  isOutcome,
  type Outcome,
  type RejectOutcome,
  reject,
} from './outcome.js'
export type { PutOptionsOf } from './put/put.js'
export type { PgClient, PostgresJsTransaction, SendInTransaction, Transaction } from './put/transaction.js'
