import type { Bugle } from '../bugle.js'
import { queueName } from '../checks.js'
import { internalsOf } from '../internals.js'

/**
 * Make the scheduled jobs of a queue ready now: retries, released and partial ones, and those that were put ahead of
 * time.
 *
 * Consumers are woken by it. A retry's delay is not tested by this; `runAt` of the run's result tells it.
 *
 * @param queue - default: all queues
 * @returns how many there were
 * @throws BugleError `INVALID_QUEUE`, `INVALID_OPTION`, `DATABASE_DOWN`, `NOT_MIGRATED`, `SCHEMA_TOO_NEW`, `CLOSED`,
 *   `RESULT_UNKNOWN`
 * @see sql/statements/make_due.sql
 */
export async function makeDue<Queues extends object, Context>(
  bugle: Bugle<Queues, Context>,
  queue?: keyof Queues & string,
): Promise<number> {
  const parameters = [queue === undefined ? null : queueName(queue)]
  const [row] = await internalsOf(bugle).send<{ due: number }>('make_due', parameters, 'makeDue')
  return row?.due ?? 0
}
