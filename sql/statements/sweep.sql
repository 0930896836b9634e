-- sweep: which of these queues have ready jobs, and when the next scheduled one of each is due
-- $1 queue names as a JSON array
-- rows: those that have either: name, ready boolean, due_in_ms float8 (0 or less: due; null: none scheduled)
-- plan: one probe of index job_ready and one of job_due a queue
select
  asked.name,
  found.ready is not null as ready,
  next.due_in_ms
from json_array_elements_text($1::text::json) as asked (name)
-- One probe for each name, whatever the planner knows: a semijoin planned on an empty table may read the whole index.
left join lateral (
  select true as ready
  from :"schema".job
  where queue = asked.name
    and state = 'ready'
  limit 1
) as found on true
left join lateral (
  -- As in claim.sql: infinity has no difference.
  select (extract(epoch from greatest(run_at, 'epoch') - clock_timestamp()) * 1000)::float8 as due_in_ms
  from :"schema".job
  where queue = asked.name
    and state = 'scheduled'
    and run_at < 'infinity'
  order by run_at
  limit 1
) as next on true
where found.ready is not null
  or next.due_in_ms is not null
