-- put_replace: put_options, but a job whose key waits already takes the place of that job, under its id; see function
--   put_replace in migrations/0001_jobs.sql
-- $1 queue text, $2 jobs as put_options has them, no key twice
-- rows: id, ascending, and key; of those that were inserted, in the order given
select job.id::text as id, job.key
from :"schema".put_replace($1::text, $2::text::json) as job
order by job.id
