-- state: what this database is, asked once on a fresh session before anything else
-- rows: one: server_version int, standby boolean, identity text or null, schema_exists boolean, migrated boolean
-- The part between the two marks says who the server is; state_identified has
--   parts/state.identity.state_identified.sql there.
select
  current_setting('server_version_num')::int as server_version,
  pg_is_in_recovery() as standby,
  -- begin identity
  null::text as identity,
  -- end identity
  exists (select from pg_namespace where nspname = :'schema') as schema_exists,
  exists (
    select
    from pg_class
    where relname = 'migration'
      and relnamespace = (select oid from pg_namespace where nspname = :'schema')
  ) as migrated
