import fc from 'fast-check'
import { afterEach, expect, vi } from 'vitest'
import type * as statementsModule from '../../../src/database/statements.js'
import { test } from '../../support/database.js'
import { agreement } from '../../support/model-agreement.js'
import { breakSchema, breakStatements, breaks, isNoticed } from '../../support/model-breaks.js'

// The model must be able to fail: each guard is taken out in turn, and the model differs.

afterEach(() => {
  vi.doUnmock('../../../src/database/statements.js')
  vi.resetModules()
})

for (const broken of breaks) {
  test(`the model notices if ${broken.title}`, { timeout: 120_000 }, async ({ db }) => {
    vi.resetModules()
    vi.doMock('../../../src/database/statements.js', async (importOriginal) => {
      const original = await importOriginal<typeof statementsModule>()
      const loadStatements: typeof original.loadStatements = (schema) =>
        breakStatements(broken, original.loadStatements(schema))
      return { ...original, loadStatements }
    })
    await breakSchema(broken, db)
    const { createSystem } = await import('../../support/model-system.js')
    const system = await createSystem(db)
    const { failed, errorInstance } = await fc.check(agreement(system).property, { numRuns: 3_000, endOnFailure: true })
    await system.end()
    expect(failed).toBe(true)
    expect(errorInstance).toSatisfy(isNoticed)
  })
}
