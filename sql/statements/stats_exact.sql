-- stats_exact: how many jobs of each state there are, all of them
-- $1 queue text; null: all
-- rows: one per queue and state: queue, state, jobs float8
-- plan: the whole table is read, or of one queue what the planner finds best: some 0.1 s for a million jobs
select queue, state, count(*)::float8 as jobs
from :"schema".job
where $1::text is null
  or queue = $1::text
group by queue, state
