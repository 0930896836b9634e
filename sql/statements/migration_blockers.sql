-- migration_blockers: who holds what a migration of this schema has to wait for
-- rows: one per session, at most 5, the oldest transaction first: pid int, name text (its application_name),
--   is_migrator boolean (it holds the lock of migrations; otherwise it holds a lock of a table or index of the schema)
select locks.pid, max(application_name) as name, bool_or(locktype = 'advisory') as is_migrator
from pg_locks as locks
left join pg_stat_activity as activity on activity.pid = locks.pid
where granted
  and locks.pid <> pg_backend_pid()
  and database = (select oid from pg_database where datname = current_database())
  and (
    locktype = 'advisory'
    and classid = (hashtext('bugle.migrate')::bigint & 4294967295)::oid
    and objid = (hashtext(:'schema')::bigint & 4294967295)::oid
    and objsubid = 2
    or relation in (
      select pg_class.oid
      from pg_class
      where relnamespace = (select oid from pg_namespace where nspname = :'schema')
    )
  )
group by locks.pid
order by bool_or(locktype = 'advisory') desc, min(xact_start), locks.pid
limit 5
