/**
 * Bugle: a push-driven job consumer for PostgreSQL.
 *
 * @module bugle
 */
import './demand-node.js'

export type { BatchesOptions } from './admin/batches.js'
export type { CancelAnswer, CancelFilter } from './admin/cancel.js'
export type { CollectOptions, CollectReport } from './admin/collect.js'
export type { DiscardFilter } from './admin/discard.js'
export type { JobChanges } from './admin/edit.js'
export type { ContentsOption, JobsFilter, JobsPage } from './admin/find.js'
export type { ConsumerHealth, Health } from './admin/health.js'
export type { MatchFilter } from './admin/matching.js'
export type { JobError, JobRecord, JobRecordOf, JobState } from './admin/record.js'
export type { RequeueFilter } from './admin/requeue.js'
export type { BoundedCount, BugleStats, QueueStats, StatsOptions, WorkerState, WorkerStats } from './admin/stats.js'
export type { Bugle } from './bugle.js'
export type { Codec } from './codec.js'
export type { Consumer } from './consume/consumer.js'
export type { ConsumeOptions, DrainOptions, Keep } from './consume/options.js'
export type { ConsumerStats, Percentiles } from './consume/tally.js'
export { createBugle } from './create-bugle.js'
export type { ConnectionFields } from './database/connection.js'
export type { MigrationReport } from './database/migrate.js'
export type { DatabaseServer } from './database/primary.js'
export { defineQueues, type QueueTypes } from './define-queues.js'
export { defineWorker, type WorkerDefinition } from './define-worker.js'
export type { Duration } from './duration.js'
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
export type { JsonInput, Jsonify } from './jsonify.js'
export type { Logger } from './logging.js'
export type {
  BugleOptions,
  CreateBugleOptions,
  KeepTimes,
  StopOptions,
} from './options.js'
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
export type { PutOptions, PutOptionsOf, Unique } from './put/options.js'
export type { Putter } from './putter.js'
export type {
  Checked,
  HandlersOf,
  JobOf,
  KindOf,
  Kinds,
  PayloadStored,
  PayloadToPut,
  PutArguments,
  PutManyArguments,
  QueueMap,
  QueueName,
  QueueSchemas,
  QueuesBy,
  QueuesOf,
  WithCodec,
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
export type { StopReport } from './stop-report.js'
export {
  type DrizzleTransaction,
  fromDrizzle,
  fromKnex,
  fromKysely,
  fromPrisma,
  type KnexTransaction,
  type KyselyTransaction,
  type PrismaTransaction,
} from './transactions/adapters.js'
export type {
  MikroOrmManager,
  PgClient,
  PostgresJsTransaction,
  SequelizeTransaction,
} from './transactions/recognise.js'
export type { SendInTransaction } from './transactions/send.js'
export type { Transaction } from './transactions/transaction.js'
export type { ServedQueue } from './worker/heartbeat.js'
