-- put_reject: put_options, but a job whose key waits already is not inserted, and the transaction goes on; see function
--   put_reject in migrations/0001_jobs.sql
-- $1 queue text, $2 jobs as put_options has them, no key twice
-- rows: id, ascending, and key; none of a job whose key is taken
select job.id::text as id, job.key
from :"schema".put_reject($1::text, $2::text::json) as job
order by job.id
