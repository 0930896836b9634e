import { onTestFinished } from 'vitest'
import type { TestDatabase } from './database.js'
import { until } from './until.js'

/** Holds up the statements that write certain rows: so that a test can act in the middle of a batch. */
export interface Gate {
  /** Resolves once a statement stands before it. */
  isWaitedFor(): Promise<void>
  open(): Promise<void>
}

/** @param when - of rows of `job`, as the condition of a trigger */
export async function gate(db: TestDatabase, event: 'insert' | 'update' | 'delete', when: string): Promise<Gate> {
  const { s, sql } = db
  const holder = db.connect()
  const [{ key } = { key: 0 }] = await holder<{ key: number }[]>`
    select key, pg_advisory_lock(key) from (select hashtext(${`gate ${db.schema}`}) as key) as keys`
  onTestFinished(() => open())
  const row = event === 'delete' ? 'old' : 'new'
  await sql.unsafe(`
    create function ${s}.gate() returns trigger language plpgsql as $$
    begin
      perform pg_catalog.pg_advisory_xact_lock(${key});
      return ${row};
    end $$;
    create trigger gate before ${event} on ${s}.job for each row when (${when}) execute function ${s}.gate();`)

  async function open(): Promise<void> {
    await holder`select pg_advisory_unlock_all()`.catch(() => {})
  }

  return {
    async isWaitedFor() {
      const waiting = () => sql`
        select from pg_locks
        where locktype = 'advisory' and not granted and objid::bigint = ${key}::bigint & 4294967295`
      await until(async () => (await waiting()).length > 0)
    },
    open,
  }
}
