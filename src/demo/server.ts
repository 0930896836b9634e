import { startEmbedded } from '../embedded/index.js'

/** The database of a run. Disposing stops a server that was started for it. */
export interface Server extends AsyncDisposable {
  readonly connectionString: string
  readonly kind: 'given' | 'embedded'
}

/** `DATABASE_URL`, or else an embedded server that lives as long as the run. */
export async function openServer(env: NodeJS.ProcessEnv): Promise<Server> {
  if (env.DATABASE_URL) {
    return { connectionString: env.DATABASE_URL, kind: 'given', async [Symbol.asyncDispose]() {} }
  }
  const embedded = await startEmbedded()
  return {
    // What the environment says of another server (PGSSLMODE, …) does not hold for this one.
    connectionString: `${embedded.connectionString}?sslmode=disable&target_session_attrs=any`,
    kind: 'embedded',
    [Symbol.asyncDispose]: () => embedded.stop(),
  }
}
