import type { Database, Query } from '../../database/database.js'
import { BugleError } from '../../errors.js'
import type { Worker } from '../../worker/worker.js'

/**
 * A way for outcomes: the database's, and after the close the control session of the worker.
 *
 * A handler that was abandoned may go on after its instance is closed, and its outcome counts all the same. Until it
 * has ended the worker lingers, and keeps its control session. No statement is sent twice: the database answers CLOSED
 * only for one that it has not sent.
 *
 * @returns a query that rejects with the driver's error, or with `CLOSED` where the worker has no control session
 */
export function settleAlsoLate(database: Pick<Database, 'query'>, worker: Pick<Worker, 'lateQuery'>): Query {
  return async <Row extends object>(...[name, parameters]: Parameters<Query>): Promise<Row[]> => {
    try {
      return await database.query<Row>(name, parameters)
    } catch (error) {
      if (!(error instanceof BugleError && error.code === 'CLOSED')) throw error
      return worker.lateQuery<Row>(name, parameters)
    }
  }
}
