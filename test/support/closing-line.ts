import type { Reporter, TestModule } from 'vitest/node'

/** The last line of a run, in the plain form that any program can read. */
export default class ClosingLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const tests = modules.flatMap((module) => [...module.children.allTests()])
    const count = (state: string) => tests.filter((test) => test.result().state === state).length
    // A file that could not even be loaded has no tests to count.
    const broken = modules.filter(
      (module) => module.state() === 'failed' && [...module.children.allTests()].length === 0,
    )
    const projects = new Set(modules.map((module) => module.project.name))
    if (projects.has('oldest') && !projects.has('seldom')) {
      console.log(
        '\n*** not run: the package and its documents, the demo, the embedded server, the costliest scenarios, ' +
          'PostgreSQL 15 and most of 13; `npm run check` runs them ***',
      )
    }
    console.log(`\n${count('passed')} passed, ${count('failed') + broken.length} failed, ${count('skipped')} skipped`)
  }
}
