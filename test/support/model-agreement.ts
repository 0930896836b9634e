import fc from 'fast-check'
import { commandSequence } from './model-commands.js'
import { runCommands } from './model-sequence.js'
import type { System } from './model-system.js'

// Twelve on the average, of which ten find jobs to work on: some 20 ms a run. Most mistakes are found by a few hundred
// runs at the most.
const mostCommands = 24

/** Random sequences of calls leave the tables of the system as a model in memory does. */
export function agreement(system: System) {
  let commands = 0
  return {
    property: fc.asyncProperty(commandSequence(mostCommands), async (sequence) => {
      commands += await runCommands(system, sequence)
    }),
    commands: () => commands,
  }
}
