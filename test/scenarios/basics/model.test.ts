import fc from 'fast-check'
import { test } from '../../support/database.js'
import { agreement } from '../../support/model-agreement.js'
import { createSystem } from '../../support/model-system.js'

// BUGLE_TEST_MODEL_RUNS=100000, for once, takes half an hour or more. BUGLE_TEST_MODEL_SEED repeats a run by the seed
// that it has printed.
const runs = Number(process.env.BUGLE_TEST_MODEL_RUNS ?? (process.env.BUGLE_TEST_SLOW ? 1_000 : 150))
const seed = Number(process.env.BUGLE_TEST_MODEL_SEED ?? Math.trunc(Math.random() * 2 ** 31))
/** Ten times what it takes on a quiet machine. */
const perRunMs = 200

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
