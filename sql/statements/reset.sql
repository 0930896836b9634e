-- reset: delete all jobs, archived ones, and what is kept of queues and keys: for tests
-- rows: none
-- It deletes, and does not truncate: few rows are there, and a truncation makes new files for each table and index. The
--   delete of a paused queue's row also wakes its consumers, which a truncation would leave waiting. Workers stay:
--   consumers may be there.
with jobs as (
  delete from :"schema".job
),
archived as (
  delete from :"schema".archive
),
keys as (
  delete from :"schema".taken_key
)
delete from :"schema".queue
