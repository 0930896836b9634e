import type { Consumer } from '../consume/consumer.js'
import type { Database } from '../database/database.js'
import type { DatabaseServer } from '../database/primary.js'
import { deadline } from '../deadline.js'
import { BugleError, describe, toError } from '../errors.js'
import type { ListenerHealth } from '../events.js'

/** Whether this process can do its work now. */
export interface Health {
  /** There are no problems. */
  readonly isHealthy: boolean
  /** Each a sentence for an operator. */
  readonly problems: readonly string[]
  readonly database: {
    /** It has answered within two seconds. */
    readonly isUp: boolean
    /** From asking to the answer, the wait for a free connection included; null: there was none. */
    readonly roundTripMs: number | null
    /** The one that everything of this instance is on; null: none was reached yet. */
    readonly server: DatabaseServer | null
  }
  /**
   * Whether notifications arrive; null: nothing is consumed, or `listen: false`. The process is healthy without `live`
   * too: sweeps then find jobs within a second.
   */
  readonly listener: ListenerHealth | null
  /** Whether others see that this process lives, so that it may claim; null: nothing is consumed. */
  readonly isPresent: boolean | null
  readonly consumers: readonly ConsumerHealth[]
}

/** One of this process's consumers. */
export interface ConsumerHealth {
  readonly queue: string
  /** false: it has not begun, since it waits for the database; or it is being stopped. */
  readonly isRunning: boolean
  /** In this process. */
  readonly isPaused: boolean
  /** Slots that are taken. */
  readonly active: number
}

interface HealthParts {
  readonly database: Database
  readonly worker: {
    readonly listener: { readonly health: ListenerHealth } | null
    readonly isConfirmed: boolean | null
  }
  /** By queue; null: it has not begun. */
  readonly consumers: ReadonlyMap<string, Consumer | null>
  readonly isClosing: boolean
}

/** What a probe may take, in all. */
const probeMs = 2_000

/**
 * Ask the database once, by the way that consumers take, and say what is known here.
 *
 * @throws BugleError `CLOSED`, and nothing else
 * @see sql/statements/health.sql
 */
export async function readHealth({ database, worker, consumers, isClosing }: HealthParts): Promise<Health> {
  const { problem, ...answer } = await ask(database)
  const states = [...consumers].map(([queue, consumer]) => consumerHealth(queue, consumer))
  const isPresent = worker.isConfirmed
  const problems = [
    ...(problem === null ? [] : [problem]),
    ...(isClosing ? ['the instance is being closed'] : []),
    // Where the database is down, or a consumer has not begun, that is why, and said.
    ...(isPresent === false && answer.isUp && ![...consumers.values()].includes(null)
      ? ['the presence of this process is not confirmed: it claims nothing until a heartbeat is answered']
      : []),
    ...[...consumers].flatMap(([queue, consumer]) =>
      consumer === null ? [`the consumer of the queue ${describe(queue)} has not begun yet`] : [],
    ),
  ]
  return {
    isHealthy: problems.length === 0,
    problems,
    database: { ...answer, server: database.server },
    listener: worker.listener?.health ?? null,
    isPresent,
    consumers: states,
  }
}

type Answer = Pick<Health['database'], 'isUp' | 'roundTripMs'> & { readonly problem: string | null }

async function ask(database: Database): Promise<Answer> {
  const askedAt = performance.now()
  try {
    const [row] = await deadline(
      database.ready().then(() => database.query<{ standby: boolean; readOnly: boolean }>('health', [])),
      probeMs,
      'the database',
    )
    return {
      isUp: true,
      roundTripMs: performance.now() - askedAt,
      problem: row?.standby
        ? 'the database server is a standby, and cannot be written to'
        : row?.readOnly
          ? 'transactions are read only here (default_transaction_read_only is on), so nothing can be written'
          : null,
    }
  } catch (thrown) {
    const error = toError(thrown)
    const code = error instanceof BugleError ? error.code : null
    if (code === 'CLOSED') throw error
    // It is there, and not for us.
    const isUp =
      code === 'NOT_MIGRATED' || code === 'SCHEMA_TOO_NEW' || code === 'SCHEMA_UNUSABLE' || code === 'NO_PRIVILEGE'
    return { isUp, roundTripMs: null, problem: error.message }
  }
}

function consumerHealth(queue: string, consumer: Consumer | null): ConsumerHealth {
  if (consumer === null) return { queue, isRunning: false, isPaused: false, active: 0 }
  const { isRunning, isPaused, activeJobs } = consumer
  return { queue, isRunning, isPaused, active: activeJobs }
}
