-- promote: make scheduled jobs of one queue that are due ready; their trigger wakes consumers that sleep
-- $1 queue text, $2 limit int
-- $3 ids as an array literal of bigint: those jobs only; null: any
-- $4 ids: all but those
-- rows: one: promoted int; due_in_ms: until the nearest that is still scheduled, but for those (0 or less: due, but
--   locked by somebody, or beyond the limit), null: none
-- plan: job_due, then job_pkey
with due as materialized (
  select id
  from :"schema".job
  where queue = $1::text
    and state = 'scheduled'
    and run_at <= statement_timestamp()
    and ($3::text is null or id = any ((select $3::text::bigint[])::bigint[]))
    and id <> all ((select $4::text::bigint[])::bigint[])
  order by run_at
  limit $2::int
  for no key update skip locked
),
promoted as (
  update :"schema".job
  set state = 'ready'
  where id = any (array(select id from due))
  returning id
)
select
  (select count(*) from promoted)::int as promoted,
  (
    -- As in claim.sql: infinity has no difference.
    select extract(epoch from greatest(run_at, 'epoch') - clock_timestamp()) * 1000
    from :"schema".job
    where queue = $1::text
      and state = 'scheduled'
      and run_at < 'infinity'
      and id <> all (array(select id from due))
      and id <> all ((select $4::text::bigint[])::bigint[])
    order by run_at
    limit 1
  )::float8 as due_in_ms
