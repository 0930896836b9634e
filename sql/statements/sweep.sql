-- sweep: which of these queues have ready jobs
-- $1 queue names as a JSON array
-- rows: those that have; plan: one probe of index job_ready a queue
select asked.name
from json_array_elements_text($1::text::json) as asked (name),
  -- One probe for each name, whatever the planner knows: a semijoin planned on an empty table may read the whole index.
  lateral (
    select
    from :"schema".job
    where queue = asked.name
      and state = 'ready'
    limit 1
  ) as found
