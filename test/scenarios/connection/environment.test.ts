import { expect, vi } from 'vitest'
import { signal, test } from '../../support/database.js'
import { until } from '../../support/until.js'

// The drivers read these for themselves. On PostgreSQL 13 the first one makes postgres.js ask, and fail to ask, whether
// the server may be written to; the others would break whatever session they reach.
const variables = {
  PGTARGETSESSIONATTRS: 'read-write',
  PGOPTIONS: '-c search_path=wrong -c default_transaction_read_only=on',
  PGREPLICATION: 'database',
}

test('variables that the drivers read change nothing: jobs are put, pushed and run', async ({ db }) => {
  for (const [name, value] of Object.entries(variables)) vi.stubEnv(name, value)
  try {
    const name = `env ${db.schema.slice(-8)}`
    const bugle = db.bugle({ name })
    const ran = signal<unknown>()
    await bugle.consume('q', (job) => ran.resolve(job.payload))
    await until(async () => (await bugle.health()).listener === 'live')
    // With sweeps off only a notification can bring it.
    await bugle.put('q', 'pushed')
    expect(await ran.promise).toBe('pushed')
    const sessions = await until(async () => {
      const rows = await db.sql<{ role: string; type: string }[]>`
        select substr(application_name, ${name.length + 2}) as role, backend_type as type
        from pg_stat_activity where starts_with(application_name, ${name}) order by 1`
      return rows.some(({ role }) => role === 'control') && [...rows]
    })
    expect(new Set(sessions.map(({ role }) => role))).toEqual(new Set(['', 'control', 'listener']))
    expect(new Set(sessions.map(({ type }) => type))).toEqual(new Set(['client backend']))
    await bugle.close()
  } finally {
    vi.unstubAllEnvs()
  }
})
