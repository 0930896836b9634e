-- presence_holders: which sessions hold these workers' presence locks; no lock is taken, or lookers would see each
--   other
-- $1 worker ids as an array literal of bigint
-- rows: one per session: id of the worker, pid
with asked as materialized (
  select id, (hashint8(id)::bigint & 4294967295)::oid as key
  from unnest($1::text::bigint[]) as given (id)
)
select asked.id::text as id, pid
from pg_locks
join asked on asked.key = objid
where locktype = 'advisory'
  and granted
  and database = (select oid from pg_database where datname = current_database())
  and classid = format('%I.worker', :'schema')::regclass::oid
  and objsubid = 2
