import { defineConfig } from 'vitest/config'
import { seldom } from './seldom.js'

const shared = {
  root: new URL('..', import.meta.url).pathname,
  globalSetup: 'test/support/server.ts',
  pool: 'forks',
  testTimeout: 60_000,
  hookTimeout: 60_000,
} as const

/** Where the server's version can matter most: what migrations and outcomes do. The others where there is more time. */
const onTheOldest = ['migration', 'outcomes']
const isSlow = Boolean(process.env.BUGLE_TEST_SLOW)
/** `npm test -- fleet` runs it all the same. */
const isNamed = process.argv.slice(2).some((argument) => seldom.some((file) => file.includes(argument)))

export default defineConfig({
  root: shared.root,
  test: {
    reporters: ['default', './test/support/closing-line.ts'],
    // More than the cores of a small machine: most tests wait more than they compute, and none asserts on speed.
    maxWorkers: 3,
    projects: [
      {
        root: shared.root,
        test: {
          ...shared,
          name: 'embedded-postgres',
          include: ['test/**/*.test.ts'],
          exclude: isSlow || isNamed ? [] : seldom,
        },
      },
      // The oldest server that we know, and where there is more time one in between.
      {
        root: shared.root,
        test: {
          ...shared,
          name: 'embedded-postgres-13',
          include: isSlow
            ? ['test/scenarios/**/*.test.ts', 'test/doctor/**/*.test.ts']
            : onTheOldest.map((name) => `test/scenarios/${name}.test.ts`),
        },
      },
      ...(isSlow
        ? [
            {
              root: shared.root,
              test: { ...shared, name: 'embedded-postgres-15', include: ['test/scenarios/**/*.test.ts'] },
            },
          ]
        : []),
    ],
  },
})
