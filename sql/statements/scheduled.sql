-- scheduled: when the next scheduled job of a queue is due that a consumer may take; asked by a drain that waits for it
-- $1 queue text, $2 kinds as an array literal, null: any kind, and none; $3 flags as an array literal: no job that has
--   one of them; null: whatever flags it has; $4 ids as an array literal of bigint: all but those
-- rows: one: due_in_ms: 0 or less: it is due; null: there is none
-- plan: job_due, from the nearest on, past those of other kinds, with such flags, and of $4
select (
  -- As in claim.sql: infinity has no difference.
  select extract(epoch from greatest(run_at, 'epoch') - clock_timestamp()) * 1000
  from :"schema".job
  where queue = $1::text
    and state = 'scheduled'
    and run_at < 'infinity'
    and ($2::text is null or kind = any ($2::text::text[]))
    and ($3::text is null or flags is null or not flags && $3::text::text[])
    and id <> all ((select $4::text::bigint[])::bigint[])
  order by run_at
  limit 1
)::float8 as due_in_ms
