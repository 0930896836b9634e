/**
 * The tables that are inserted into, one variant a schema:
 *
 * - `ours`: the job table as the library makes it
 * - `always`: the same, with a trigger function that notifies of every insert
 * - `none`: the same, with all its triggers disabled
 * - `bare`: a plain table of the same columns, indexes and storage settings; no triggers, no checks, no domains
 */
import { migrate } from '../measure/consumers.mjs'

export const variants = /** @type {const} */ (['bare', 'ours', 'always', 'none'])
/** @typedef {(typeof variants)[number]} Variant */

/** @param {import('../server.mjs').Database} database */
export async function createTables(database) {
  for (const schema of ['ours', 'always', 'none']) await migrate(database.url, schema)
  await database.query(`
    create or replace function always.wake() returns trigger language plpgsql as $$
    begin
      perform pg_catalog.pg_notify('bugle_' || tg_relid, new.queue);
      return null;
    end
    $$
  `)
  await database.query('alter table none.job disable trigger user')
  await database.query('create schema bare')
  await database.query(
    `create table bare.job (
       like ours.job including defaults including identity including indexes including storage
     )`,
  )
  await toBaseTypes(database)
  const [{ settings }] = await database.query(
    `select array_to_string(reloptions, ', ') as settings from pg_class where oid = 'ours.job'::regclass`,
  )
  if (settings) await database.query(`alter table bare.job set (${settings})`)
}

/** A domain's checks come with the column. @param {import('../server.mjs').Database} database */
async function toBaseTypes(database) {
  const columns = await database.query(
    `select attname as name, format_type(typbasetype, typtypmod) as type, collname as collation
     from pg_attribute
     join pg_type on pg_type.oid = atttypid
     left join pg_collation on pg_collation.oid = attcollation
     where attrelid = 'bare.job'::regclass and attnum > 0 and typtype = 'd'`,
  )
  const changes = columns.map(
    ({ name, type, collation }) => `alter "${name}" type ${type}${collation === null ? '' : ` collate "${collation}"`}`,
  )
  if (changes.length > 0) await database.query(`alter table bare.job ${changes.join(', ')}`)
}

/**
 * What was inserted goes, and what it left behind with it.
 *
 * @param {import('../server.mjs').Database} database
 * @param {Variant} variant
 */
export async function emptyTable(database, variant) {
  await database.query(`delete from ${variant}.job where state = 'ready'`)
  await database.query(`vacuum (analyze) ${variant}.job`)
  await database.query('checkpoint')
}

/**
 * @param {import('../server.mjs').Database} database
 * @param {Variant} variant
 * @returns {Promise<number>}
 */
export async function readyJobs(database, variant) {
  const [row] = await database.query(`select count(*)::int as jobs from ${variant}.job where state = 'ready'`)
  return row.jobs
}
