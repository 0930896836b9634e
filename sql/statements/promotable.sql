-- promotable: the due jobs that promote would look at, in its order: sent after one was refused
-- $1 queue text, $2 limit int, $3 ids as an array literal of bigint: all but those
-- rows: one per job: id
-- plan: index job_due
select id::text as id
from :"schema".job
where queue = $1::text
  and state = 'scheduled'
  and run_at <= statement_timestamp()
  and id <> all ((select $3::text::bigint[])::bigint[])
order by run_at
limit $2::int
