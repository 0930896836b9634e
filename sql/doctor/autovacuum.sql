-- autovacuum: whether the server does it at all
-- rows: one: autovacuum boolean, track_counts boolean, naptime_ms float8
select
  current_setting('autovacuum')::boolean as autovacuum,
  current_setting('track_counts')::boolean as track_counts,
  (extract(epoch from current_setting('autovacuum_naptime')::interval) * 1000)::float8 as naptime_ms
