import fc from 'fast-check'
import { afterEach, expect, vi } from 'vitest'
import type * as statementsModule from '../../../src/database/statements.js'
import { test } from '../../support/database.js'
import { breakSchema, breakStatements, breaks, isNoticed } from '../../support/model-breaks.js'
import { commandSequence } from '../../support/model-commands.js'
import { runCommands } from '../../support/model-sequence.js'
import { createSystem, type System } from '../../support/model-system.js'

// BUGLE_TEST_MODEL_RUNS=100000, for once, takes half an hour or more. BUGLE_TEST_MODEL_SEED repeats a run by the seed
// that it has printed.
const runs = Number(process.env.BUGLE_TEST_MODEL_RUNS ?? (process.env.BUGLE_TEST_SLOW ? 1_000 : 150))
const seed = Number(process.env.BUGLE_TEST_MODEL_SEED ?? Math.trunc(Math.random() * 2 ** 31))
// Twelve on the average, of which ten find jobs to work on: some 20 ms a run. Most mistakes are found by a few hundred
// runs at the most.
const mostCommands = 24
/** Five times what it takes on a quiet machine. */
const perRunMs = 100

test('random sequences of calls leave the tables as a model in memory does', {
  timeout: 60_000 + runs * perRunMs,
}, async ({ db }) => {
  const system = await createSystem(db)
  const { property, commands } = agreement(system)
  try {
    // Not endOnFailure: a failure is shrunk to the few commands that matter, as long as there is time.
    await fc.assert(property, {
      seed,
      numRuns: runs,
      interruptAfterTimeLimit: 30_000 + runs * perRunMs,
      markInterruptAsFailure: true,
    })
  } finally {
    console.log(`model: seed ${seed}, ${runs} runs, ${commands()} commands`)
    await system.end()
  }
})

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

function agreement(system: System) {
  let commands = 0
  return {
    property: fc.asyncProperty(commandSequence(mostCommands), async (sequence) => {
      commands += await runCommands(system, sequence)
    }),
    commands: () => commands,
  }
}
