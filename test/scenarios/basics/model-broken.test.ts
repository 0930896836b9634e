import fc from 'fast-check'
import { expect } from 'vitest'
import { withStatements } from '../../support/changed-statements.js'
import { test } from '../../support/database.js'
import { agreement } from '../../support/model-agreement.js'
import { breakSchema, breakStatements, breaks, isNoticed } from '../../support/model-breaks.js'

// The model must be able to fail: each guard is taken out in turn, and the model differs.

for (const broken of breaks) {
  test(`the model notices if ${broken.title}`, { timeout: 120_000 }, async ({ db }) => {
    await withStatements((statements) => breakStatements(broken, statements))
    await breakSchema(broken, db)
    const { createSystem } = await import('../../support/model-system.js')
    const system = await createSystem(db)
    const { failed, errorInstance } = await fc.check(agreement(system).property, { numRuns: 3_000, endOnFailure: true })
    await system.end()
    expect(failed).toBe(true)
    expect(errorInstance).toSatisfy(isNoticed)
  })
}
