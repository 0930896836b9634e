-- ping: send a mark to ourselves, the long way round
-- $1 channel text, $2 mark text
-- rows: one: channel: as statement channel has it now; null: there are no tables
-- It reads the catalogs, as a role that may not use the schema sends it too: the doctor's.
select
  'bugle_' || (
    select oid
    from pg_class
    where relname = 'job'
      and relnamespace = (select oid from pg_namespace where nspname = :'schema')
  ) as channel,
  pg_notify($1::text, $2::text) as sent
