-- bloat_tables: rows and dead rows of the tables that grow, as the statistics have them
-- rows: one per table: table_name, live float8, dead float8, heap_bytes float8, untended_ms (since a vacuum, or since
--   it was made)
select
  stats.relname as table_name,
  greatest(n_live_tup, reltuples, 0)::float8 as live,
  n_dead_tup::float8 as dead,
  pg_relation_size(stats.relid)::float8 as heap_bytes,
  (
    extract(
      epoch from clock_timestamp()
        - coalesce(greatest(last_vacuum, last_autovacuum), (select max(applied_at) from :"schema".migration))
    ) * 1000
  )::float8 as untended_ms
from pg_stat_all_tables as stats
join pg_class on pg_class.oid = stats.relid
where schemaname = :'schema'
  and stats.relname in ('job', 'archive')
order by 1
