import type { TestDatabase } from './database.js'

/**
 * A trigger of the application's that refuses some rows of `job`.
 *
 * @param when - of rows, as the condition of a trigger
 * @returns takes it away
 */
export async function refuse(
  { s, sql }: Pick<TestDatabase, 's' | 'sql'>,
  event: 'insert' | 'update' | 'delete',
  when: string,
  { code = 'P0001', table = 'job' } = {},
): Promise<() => Promise<void>> {
  await sql.unsafe(`
    create function ${s}.refuse_${event}() returns trigger language plpgsql as $$
    begin
      raise exception 'the application refuses it' using errcode = '${code}';
    end $$;
    create trigger refuse_${event} before ${event} on ${s}.${table} for each row when (${when})
    execute function ${s}.refuse_${event}()`)
  return async () => void (await sql.unsafe(`drop function ${s}.refuse_${event} cascade`))
}
