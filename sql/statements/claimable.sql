-- claimable: the jobs that a claim would take, in the order of claiming: sent after one was refused
-- $1 queue text, $2 limit int
-- $3 flags, $4 kinds, $5 ids: all but those, as $4, $10 and $12 of claim_some
-- rows: one per job: id
-- plan: index job_ready
select id::text as id
from :"schema".job
where queue = $1::text
  and state = 'ready'
  and crashes <= 0
  and ($3::text is null or flags is null or not flags && $3::text::text[])
  and ($4::text is null or kind = any ($4::text::text[]))
  and id <> all ((select $5::text::bigint[])::bigint[])
order by priority desc, job.id
limit $2::int
