-- put_keyed: put_options for jobs with keys; see function put_keyed in migrations/0001_jobs.sql
-- $1 queue text, $2 jobs as put_options has them, and "key", "key_while", "key_for_ms"
-- $3 mode: 'keep', 'replace' or 'reject'
-- $4 'true' or 'false': whether a key that is taken refuses the statement; otherwise its job is left out
-- rows: id, ascending, and key (null: it has none): of the new job, or of the one that has the key
select job.id::text as id, job.key
from :"schema".put_keyed($1::text, $2::text::json, $3::text, $4::text::boolean) as job
order by job.id
