import type { TestProject } from 'vitest/node'
import { startEmbedded } from '../../src/embedded/index.js'

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
  const server = await startEmbedded({
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
