import { test as base, signal } from './database.js'

/** Where handlers wait until the test says so; open at the latest when it ends. */
export type Gate = ReturnType<typeof signal<void>>

export const test = base.extend<{ gate: () => Gate }>({
  // A fixture above `db`, and so ended before it: an instance that closes waits for its handlers.
  gate: async ({ db: _ }, use) => {
    const gates: Gate[] = []
    try {
      await use(() => {
        const gate = signal()
        gates.push(gate)
        return gate
      })
    } finally {
      for (const { resolve } of gates) resolve()
    }
  },
})
