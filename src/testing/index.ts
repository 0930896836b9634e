/**
 * `bugle/testing`: for tests of what you do with Bugle, against a real PostgreSQL and with any test runner.
 *
 * It uses real connections and timers, so leave a runner's fake timers off. To go forward in time there is `makeDue`.
 *
 * @module bugle/testing
 */
import '../demand-node.js'

export { type CollectedEvent, type CollectedEvents, collectEvents, type WaitOptions } from './collect.js'
export { startTestDatabase, type TestDatabase, type TestDatabaseOptions } from './database.js'
export { type TestContextFields, testContext, testJob } from './handler.js'
export {
  type DrainAllOptions,
  drain,
  type RunOneOptions,
  type RunResult,
  type RunResultOutcome,
  runOne,
} from './run.js'
export { makeDue } from './time.js'
export { type WaitForJobOptions, waitForJob } from './wait.js'
