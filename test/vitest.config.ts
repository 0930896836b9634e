import { defineConfig } from 'vitest/config'

const shared = {
  root: new URL('..', import.meta.url).pathname,
  globalSetup: 'test/support/server.ts',
  pool: 'forks',
  testTimeout: 60_000,
  hookTimeout: 60_000,
} as const

export default defineConfig({
  root: shared.root,
  test: {
    reporters: ['default', './test/support/closing-line.ts'],
    // Most tests wait more than they compute; no test asserts on speed.
    maxWorkers: 2,
    projects: [
      { root: shared.root, test: { ...shared, name: 'embedded-postgres', include: ['test/**/*.test.ts'] } },
      // What depends on the server is shown on the oldest one too, and where there is more time on one in between.
      ...['embedded-postgres-13', ...(process.env.BUGLE_TEST_SLOW ? ['embedded-postgres-15'] : [])].map((name) => ({
        root: shared.root,
        test: { ...shared, name, include: ['test/scenarios/**/*.test.ts'] },
      })),
    ],
  },
})
