import { existsSync, statfsSync } from 'node:fs'
import type { TestProject } from 'vitest/node'
import { type EmbeddedOptions, type EmbeddedPostgres, startEmbedded } from '../../src/embedded/index.js'

declare module 'vitest' {
  export interface ProvidedContext {
    /** Of the project's own server: a superuser's. */
    connectionString: string
    /** The npm package that carries the project's server. */
    serverPackage: string
  }
}

/** Each project has an embedded server of its own, which the npm package `serverPackage` carries. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const server = await startInMemory({
    package: project.getProvidedContext().serverPackage,
    settings: {
      max_connections: 300,
      max_prepared_transactions: 10,
      // Only the tests' own VACUUM and ANALYZE may change a plan.
      autovacuum: false,
    },
  })
  project.provide('connectionString', server.connectionString)
  return () => server.stop()
}

/** The tests make and drop many tables. Their files cost 7 % less of all processor time in memory than on a disk. */
async function startInMemory(options: EmbeddedOptions): Promise<EmbeddedPostgres> {
  if (!isRoomy('/dev/shm')) return startEmbedded(options)
  const { TMPDIR } = process.env
  process.env.TMPDIR = '/dev/shm'
  try {
    return await startEmbedded(options)
  } finally {
    if (TMPDIR === undefined) delete process.env.TMPDIR
    else process.env.TMPDIR = TMPDIR
  }
}

/** A container may have as little as 64 MB there. */
function isRoomy(directory: string): boolean {
  if (!existsSync(directory)) return false
  const { bavail, bsize } = statfsSync(directory)
  return bavail * bsize > 4 * 1024 ** 3
}
