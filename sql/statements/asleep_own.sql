-- asleep_own: does this session hold K(queue)?
-- $1 queue text
-- rows: one: held boolean
select exists (
  select
  from pg_locks
  where locktype = 'advisory'
    and granted
    and database = (select oid from pg_database where datname = current_database())
    and classid = format('%I.job', :'schema')::regclass::oid
    and objid = (hashtext($1::text)::bigint & 4294967295)::oid
    and objsubid = 2
    and pid = pg_backend_pid()
) as held
