-- horizon: what keeps vacuum from removing the dead rows of this database's tables
-- $1 ms that a transaction may last, $2 transactions that a slot may be behind
-- rows: the oldest first, at most 10: kind (session, prepared, slot, standby), name, pid, age_ms, age_xids, state,
--   application
--   hidden: sessions whose transactions this role may not see; on every row, and alone where there is nothing else
with hidden as materialized (
  select count(*)::int as count
  from pg_stat_activity
  where datname = current_database()
    and pid <> pg_backend_pid()
    and query = '<insufficient privilege>'
),
held as (
  select
    'session' as kind,
    usename::text as name,
    pid,
    (extract(epoch from clock_timestamp() - xact_start) * 1000)::float8 as age_ms,
    null::int as age_xids,
    state,
    application_name as application
  from pg_stat_activity
  where datname = current_database()
    and pid <> pg_backend_pid()
    and xact_start < clock_timestamp() - $1::float8 * interval '1 ms'
    and (backend_xmin is not null or backend_xid is not null)
    -- A vacuum does not keep another from its work.
    and backend_type is distinct from 'autovacuum worker'
    and not exists (select from pg_stat_progress_vacuum as vacuum where vacuum.pid = pg_stat_activity.pid)
  union all
  select
    'prepared',
    gid,
    null,
    (extract(epoch from clock_timestamp() - prepared) * 1000)::float8,
    age(transaction),
    null,
    owner::text
  from pg_prepared_xacts
  where database = current_database()
    and prepared < clock_timestamp() - $1::float8 * interval '1 ms'
  union all
  select 'slot', slot_name::text, active_pid, null, age(xmin), case when active then 'active' else 'inactive' end, null
  from pg_replication_slots
  where xmin is not null
    and (age(xmin) > $2::int or not active)
  union all
  select 'standby', client_addr::text, pid, null, age(backend_xmin), state, application_name
  from pg_stat_replication
  where age(backend_xmin) > $2::int
)
select held.*, hidden.count as hidden
from hidden
left join (
  select *
  from held
  order by age_ms desc nulls last, age_xids desc
  limit 10
) as held on true
