-- put_keep: put_options, but a job whose key waits already is not inserted; see function put_keep in
--   migrations/0001_jobs.sql
-- $1 queue text, $2 jobs as put_options has them, no key twice
-- rows: id, ascending, and key: of the new job, or of the one that waits
select job.id::text as id, job.key
from :"schema".put_keep($1::text, $2::text::json) as job
order by job.id
