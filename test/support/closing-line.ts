import type { Reporter, TestModule } from 'vitest/node'
import { seldom } from '../seldom.js'

/** The last line of a run, in the plain form that any program can read. */
export default class ClosingLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const tests = modules.flatMap((module) => [...module.children.allTests()])
    const count = (state: string) => tests.filter((test) => test.result().state === state).length
    // A file that could not even be loaded has no tests to count.
    const broken = modules.filter(
      (module) => module.state() === 'failed' && [...module.children.allTests()].length === 0,
    )
    if (modules.length > 50 && !process.env.BUGLE_TEST_SLOW) {
      console.log(`\n*** not run: ${seldom.join(', ')}; others on PostgreSQL 13 and 15: BUGLE_TEST_SLOW=1 npm test ***`)
    }
    console.log(`\n${count('passed')} passed, ${count('failed') + broken.length} failed, ${count('skipped')} skipped`)
  }
}
