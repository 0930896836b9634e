-- bloat_indexes: how large our indexes are, and for how many rows
-- rows: one an index: index_name, bytes float8, entries float8 (of the last analyze, and all that may have come since)
select
  indexes.relname as index_name,
  pg_relation_size(indexes.oid)::float8 as bytes,
  (greatest(indexes.reltuples, 0) + pg_stat_get_mod_since_analyze(indrelid))::float8 as entries
from pg_index
join pg_class as indexes on indexes.oid = indexrelid
join pg_class as tables on tables.oid = indrelid
where tables.relnamespace = (select oid from pg_namespace where nspname = :'schema')
  and tables.relname in ('job', 'archive')
order by 1
