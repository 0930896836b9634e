-- reset: delete all jobs, archived ones, and what is kept of queues: for tests
-- rows: none
-- Deletes and not TRUNCATE: few rows are there, and a truncation makes new files for each table and index; it would
--   also leave consumers of a paused queue waiting, which the delete of its row wakes. Workers stay: consumers may be
--   there.
with jobs as (
  delete from :"schema".job
),
archived as (
  delete from :"schema".archive
)
delete from :"schema".queue
