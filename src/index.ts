/**
 * Bugle: a push-driven job consumer for PostgreSQL.
 *
 * @module bugle
 */
export type { BatchesOptions } from './admin/batches.js'
export type { CancelAnswer, CancelFilter } from './admin/cancel.js'
export type { CollectOptions, CollectReport } from './admin/collect.js'
export type { DiscardFilter } from './admin/discard.js'
export type { JobChanges } from './admin/edit.js'
export type { ContentsOption, JobsFilter, JobsPage } from './admin/find.js'
export type { ConsumerHealth, Health } from './admin/health.js'
export type { MatchFilter } from './admin/matching.js'
export type { JobError, JobRecord, JobState } from './admin/record.js'
export type { RequeueFilter } from './admin/requeue.js'
export type { BoundedCount, BugleStats, QueueStats, StatsOptions, WorkerState, WorkerStats } from './admin/stats.js'
export { type Bugle, createBugle } from './bugle.js'
export type { Codec } from './codec.js'
export type { Consumer } from './consume/consumer.js'
export type { StopReport } from './consume/report.js'
export type { ConsumerStats, Percentiles } from './consume/tally.js'
export type { ConnectionFields } from './database/connection.js'
export type { MigrationReport } from './database/migrate.js'
export type { DatabaseServer } from './database/primary.js'
export { BugleError, type BugleErrorCode } from './errors.js'
export type { EventStream } from './event-stream.js'
export type {
  AbortCode,
  BugleEventName,
  BugleEvents,
  BugleListener,
  CallbackPlace,
  EventData,
  EventOptions,
  EventSource,
  FailureCause,
  JobEvent,
  ListenerHealth,
  UnprotectedReason,
  Unsubscribe,
} from './events.js'
export type { Handler, Job, JobContext, JobHandler, Middleware } from './job.js'
export type { Logger } from './logging.js'
export type { BugleOptions, ConsumeOptions, DrainOptions, Keep, KeepTimes, StopTimes } from './options.js'
export {
  type AckOutcome,
  ack,
  type ErrorOutcome,
  isOutcome,
  type Outcome,
  type PartialOutcome,
  partial,
  type RejectOutcome,
  type ReleaseOutcome,
  type RetryOutcome,
  reject,
  release,
  retry,
} from './outcome.js'
export type { StoredError } from './payload.js'
export {
  type DrizzleTransaction,
  fromDrizzle,
  fromKnex,
  fromKysely,
  fromPrisma,
  type KnexTransaction,
  type KyselyTransaction,
  type PrismaTransaction,
} from './put/adapters.js'
export type { PutOptions, Unique } from './put/options.js'
export type { PgClient, PostgresJsTransaction, SendInTransaction, Transaction } from './put/transaction.js'
export type {
  Checked,
  HandlersOf,
  JobOf,
  Kinds,
  PutArguments,
  PutManyArguments,
  PutOptionsOf,
  QueueMap,
  QueueName,
  QueueSchemas,
  QueuesOf,
} from './queues.js'
export type { JobResult, ResultOptions } from './results/results.js'
export {
  type ConstantDecision,
  type ErrorClass,
  type ExponentialOptions,
  exponential,
  type FixedOptions,
  fixed,
  type LinearOptions,
  linear,
  type RetryDecision,
  type RetryStrategy,
} from './retry.js'
export { parseRetryAfter } from './retry-after.js'
export type { StandardSchema } from './schema.js'
export type { ServedQueue } from './worker/heartbeat.js'
