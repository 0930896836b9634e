import { expect, onTestFinished, vi } from 'vitest'
import type * as statementsModule from '../../src/database/statements.js'
import type { StatementName, Statements } from '../../src/database/statements.js'

/** Bugle, loaded anew with other statements; after the test it is loaded as it is. */
export async function withStatements(
  change: (statements: Statements) => Statements,
): Promise<typeof import('../../src/index.js')> {
  onTestFinished(() => {
    vi.doUnmock('../../src/database/statements.js')
    vi.resetModules()
  })
  vi.resetModules()
  vi.doMock('../../src/database/statements.js', async (importOriginal) => {
    const original = await importOriginal<typeof statementsModule>()
    const loadStatements: typeof original.loadStatements = (schema) => change(original.loadStatements(schema))
    return { ...original, loadStatements }
  })
  return import('../../src/index.js')
}

/** @param find - a part of that statement, which must be there; `put` takes its place wherever it comes */
export function replacing(name: StatementName, find: string, put: string): (statements: Statements) => Statements {
  return (statements) => {
    expect(statements[name]).toContain(find)
    return { ...statements, [name]: statements[name].replaceAll(find, () => put) }
  }
}
