-- edit: change a job that waits; see function edit in migrations/0002_functions.sql
-- $1 id bigint, $2 payload as JSON text, $3 priority int, $4 run_at float8 in ms since 1970, $5 delay_ms float8; null:
--   as it is
-- rows: one: edited boolean
select :"schema".edit(
  $1::bigint,
  $2::text::jsonb,
  $3::int,
  to_timestamp($4::float8 / 1000),
  $5::float8
) as edited
